package consume

import (
	"context"
	"sort"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// rescanEvery is how often pending is looked at without a reason: a safety net, not the mechanism.
const rescanEvery = 5 * time.Second

// rescanLoop reads again what a term still has to process below the pull position, whenever something may have become pending.
func (e *Engine) rescanLoop() {
	for {
		select {
		case <-e.scan:
		case <-time.After(rescanEvery):
		case <-e.ctx.Done():
			return
		}
		if err := e.rescan(); err != nil && e.ctx.Err() == nil {
			e.cfg.Logger.Warn("re-scan interrupted, trying again", "error", err)
			e.pause(retryInterval)
			e.poke(e.scan)
		}
	}
}

func (e *Engine) rescan() error {
	e.mu.Lock()
	queues := e.tracker.Held()
	e.mu.Unlock()
	for _, q := range queues {
		if err := e.rescanQueue(q); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) rescanQueue(q msha.OriginQueue) error {
	h := e.holding(q)
	if h == nil {
		return nil
	}
	e.mu.Lock()
	pending := e.tracker.Pending(q)
	e.mu.Unlock()
	if pending.Empty() {
		return nil
	}
	e.cfg.Logger.Debug("re-scan", "queue", q.String(), "pending", pending.String())
	for _, span := range pending {
		if err := e.rescanSpan(h, q, span); err != nil {
			return err
		}
	}
	return nil
}

// holding is the local queue this client holds for an origin queue.
func (e *Engine) holding(q msha.OriginQueue) *held {
	e.mu.Lock()
	defer e.mu.Unlock()
	local, ok := e.tracker.LocalOf(q)
	if !ok {
		return nil
	}
	h := e.queues[remoting.Queue{Topic: local.Topic, Broker: local.Broker, ID: local.ID}]
	if h == nil || h.dropped || !h.ready {
		return nil
	}
	return h
}

// rescanSpan reads one span with the group's own subscription; what the broker does not return was filtered out or has expired.
func (e *Engine) rescanSpan(h *held, q msha.OriginQueue, span filter.Span) error {
	at, err := e.localOffset(h, span.From)
	if err != nil {
		return err
	}
	e.mu.Lock()
	sub := e.subs[h.home]
	e.mu.Unlock()
	if sub == nil {
		return nil
	}
	covered := span.From // everything below is dealt with
	for covered < span.To {
		if err := e.await(h.ctx, func() bool { return int64(e.rescans) < e.set.threshold }); err != nil {
			return nil // the queue is being given up
		}
		res, err := e.cfg.Cluster.Pull(h.ctx, remoting.PullRequest{Queue: h.queue, Group: readerGroup, Offset: at, Max: e.set.pullBatch, SubExpression: sub.selector.Expression, SubVersion: sub.version})
		if h.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		covered = e.reread(h, q, span, covered, res)
		if res.Status == remoting.PullNoNew || res.NextOffset <= at && res.Status != remoting.PullFound {
			e.absent(q, filter.Range(covered, span.To))
			return nil
		}
		at = res.NextOffset
	}
	return nil
}

// reread registers what a pull of a re-scan found inside the span.
func (e *Engine) reread(h *held, q msha.OriginQueue, span filter.Span, covered int64, res *remoting.PullResult) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.dropped {
		return span.To
	}
	pending := e.tracker.Pending(q)
	for _, m := range res.Messages {
		it := e.itemOf(h, m)
		if it == nil {
			continue
		}
		off := it.meta.Origin.Offset
		if it.meta.Origin.OriginQueue != q || off < covered {
			continue
		}
		if off >= span.To {
			e.tracker.Absent(q, filter.Range(covered, span.To).Intersect(pending))
			return span.To
		}
		e.tracker.Absent(q, filter.Range(covered, off).Intersect(pending))
		covered = off + 1
		if pending.Contains(off) {
			it.rescan = true
			e.rescans++
			e.tracker.Reread(it.meta)
			e.enqueue(it)
		}
	}
	if h.unit == "" { // home: local offsets are origin offsets
		end := min(res.NextOffset, span.To)
		if end > covered {
			e.tracker.Absent(q, filter.Range(covered, end).Intersect(pending))
			covered = end
		}
	}
	return covered
}

func (e *Engine) absent(q msha.OriginQueue, o filter.Offsets) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if o = o.Intersect(e.tracker.Pending(q)); !o.Empty() {
		e.cfg.Logger.Error("messages to be taken over are not in the queue any more", "queue", q.String(), "offsets", o.String())
		e.tracker.Absent(q, o)
	}
}

// localOffset finds where a local queue holds an origin offset, or the first one above it.
func (e *Engine) localOffset(h *held, origin int64) (int64, error) {
	low, err := e.cfg.Cluster.MinOffset(h.ctx, h.queue)
	if err != nil {
		return 0, err
	}
	if h.unit == "" {
		return max(low, origin), nil
	}
	high, err := e.cfg.Cluster.MaxOffset(h.ctx, h.queue)
	if err != nil {
		return 0, err
	}
	n := sort.Search(int(high-low), func(i int) bool {
		if err != nil {
			return true
		}
		var o msha.Origin
		o, err = e.originOf(h.ctx, h.queue, low+int64(i))
		return err != nil || o.Offset >= origin
	})
	return low + int64(n), err
}

// originOf reads the identity of one copy.
func (e *Engine) originOf(ctx context.Context, q remoting.Queue, offset int64) (msha.Origin, error) {
	res, err := e.cfg.Cluster.Pull(ctx, remoting.PullRequest{Queue: q, Group: readerGroup, Offset: offset, Max: 1})
	if err != nil {
		return msha.Origin{}, err
	}
	if len(res.Messages) == 0 || res.Messages[0].QueueOffset != offset {
		return msha.Origin{}, msha.Errorf("consume.read", q.String(), "", "message at offset %d %w", offset, msha.ErrNotFound)
	}
	return msha.ParseOrigin(res.Messages[0].Properties[msha.PropertyOrigin])
}
