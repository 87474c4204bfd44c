package consume

import (
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	rescanEvery = 5 * time.Second // a safety net, not the mechanism
	sweepBatch  = 256
	sweepGap    = 2000 // messages that are not pending: more than that are jumped over
)

// scanAll lets every held queue look for what has become pending; the lock is held.
func (e *Engine) scanAll() {
	for _, h := range e.queues {
		e.poke(h.scan)
	}
}

// scanLoop reads again what a term still has to process below the pull position, whenever something may have become pending.
func (e *Engine) scanLoop(h *held) {
	tick := time.NewTicker(rescanEvery)
	defer tick.Stop()
	backoff := retryInterval
	e.poke(h.scan)
	for {
		select {
		case <-h.scan:
		case <-tick.C:
		case <-h.ctx.Done():
			return
		}
		err := e.rescan(h)
		if err == nil || h.ctx.Err() != nil {
			backoff = retryInterval
			continue
		}
		e.interrupted(h, "re-scan interrupted", err)
		pause(h.ctx, backoff)
		backoff = min(2*backoff, lastBackoff)
		e.poke(h.scan)
	}
}

// rescan sweeps the origin queues whose messages the local queue holds: one, and older incarnations of it.
func (e *Engine) rescan(h *held) error {
	e.mu.Lock()
	origins, scan, current := e.origins(h), h.lane.Scan(), e.tracker.Current()
	h.scanning = scan
	e.mu.Unlock()
	for _, q := range origins {
		e.mu.Lock()
		pending := e.tracker.Pending(q)
		e.mu.Unlock()
		if pending.Empty() {
			continue
		}
		e.cfg.Logger.Debug("re-scan", "queue", q.String(), "pending", pending.String())
		if err := e.sweep(h, q, pending); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	h.lane.Settle(scan, current, e.tracker.Current())
	if e.ordered(h) {
		e.wakeUp(1)
	}
	return nil
}

// origins are the origin queues whose messages a local queue holds; the lock is held.
func (e *Engine) origins(h *held) (out []msha.OriginQueue) {
	for _, q := range e.tracker.Held() {
		if local, ok := e.tracker.LocalOf(q); ok && local == h.local {
			out = append(out, q)
		}
	}
	return out
}

// sweep reads from the first pending offset to the last with the group's own subscription.
func (e *Engine) sweep(h *held, q msha.OriginQueue, pending filter.Offsets) error {
	end := pending[len(pending)-1].To
	covered := pending[0].From // everything below is dealt with
	at, err := e.seek(h, q, &covered)
	if err != nil {
		return err
	}
	for covered < end {
		if !e.until(h, h.scanRoom, func() bool { return int64(h.rescans) < e.set.threshold || e.ordered(h) && e.needsScan(h) }) {
			return nil
		}
		res, err := e.cfg.Cluster.Pull(h.ctx, h.sub.filter(remoting.PullRequest{Queue: h.queue, Group: readerGroup, Offset: at, Max: sweepBatch}))
		if err != nil {
			return err
		}
		if res.Status == remoting.PullNoNew || res.Status == remoting.PullOffsetIllegal {
			return e.swept(h, q, covered, end, at)
		}
		covered = e.reread(h, q, end, covered, res)
		at = res.NextOffset
		if next := nextPending(pending, covered); next-covered > sweepGap && next < end {
			covered = next
			if at, err = e.seek(h, q, &covered); err != nil {
				return err
			}
		}
	}
	return nil
}

func nextPending(pending filter.Offsets, from int64) int64 {
	rest := pending.Minus(filter.Range(0, from))
	if rest.Empty() {
		return from
	}
	return rest[0].From
}

// swept ends a sweep that came to the end of the queue. All that was pulled was read then, so what was not found was filtered out by
// the group's subscription; unless the queue ends before the pull position. A replica queue may hold less than was pulled from it:
//
//	messages of which copies were read wait for their turn → the broker loses its tail, and the process takes the queue again → they are pending,
//	and not there → a replicator copies them once more
func (e *Engine) swept(h *held, q msha.OriginQueue, covered, end, at int64) error {
	if h.unit != "" {
		there, err := e.endOf(h, q, at)
		if err != nil {
			return err
		}
		end = min(end, there)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if at < h.next && !h.dropped {
		return msha.Errorf("consume.rescan", h.queue.String(), "the broker lost its tail or the topic was recreated", "%w: read up to offset %d, the queue ends at %d", msha.ErrGap, h.next, at)
	}
	e.absent(q, covered, end)
	return nil
}

// absent covers what a sweep did not find; the lock is held.
func (e *Engine) absent(q msha.OriginQueue, from, to int64) {
	if from < to {
		e.tracker.Absent(q, filter.Range(from, to).Intersect(e.tracker.Pending(q)))
	}
}

// reread registers what a pull of a sweep found and is still pending; it returns up to where the origin queue is dealt with.
func (e *Engine) reread(h *held, q msha.OriginQueue, end, covered int64, res *remoting.PullResult) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.dropped || e.ordered(h) && h.lane.Stale(h.scanning) {
		return end
	}
	pending := e.tracker.Pending(q)
	absent := func(to int64) {
		e.tracker.Absent(q, filter.Range(covered, to).Intersect(pending))
		covered = max(covered, to)
	}
	for _, m := range res.Messages {
		it := e.itemOf(h, m)
		if it == nil || it.meta.Origin.OriginQueue != q || it.meta.Origin.Offset < covered {
			continue
		}
		off := it.meta.Origin.Offset
		absent(min(off, end))
		if off >= end {
			return end
		}
		covered = off + 1
		if pending.Contains(off) {
			it.rescan = true
			h.rescans++
			e.stats.Reread++
			e.tracker.Reread(it.meta)
			e.enqueue(it)
		}
	}
	if h.unit == "" { // home: local offsets are origin offsets
		absent(min(res.NextOffset, end))
	}
	return covered
}

// seek finds where a local queue holds the origin offset *covered, or the first one above it. What expired is reported and *covered
// moves behind it.
func (e *Engine) seek(h *held, q msha.OriginQueue, covered *int64) (at int64, err error) {
	low, err := e.cfg.Cluster.MinOffset(h.ctx, h.queue)
	if err != nil {
		return 0, err
	}
	first := low // origin offset of the first message there is
	if h.unit == "" {
		at = max(low, *covered)
	} else if at, first, err = e.seekCopy(h, q, low, *covered); err != nil {
		return 0, err
	}
	if first > *covered {
		e.mu.Lock()
		defer e.mu.Unlock()
		gone := filter.Range(*covered, first).Intersect(e.tracker.Pending(q))
		if !gone.Empty() {
			e.expired(h, gone[0].From, gone[len(gone)-1].To)
			e.tracker.Absent(q, gone)
		}
		*covered = first
	}
	return at, nil
}
