package consume

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	lockTime   = 60 * time.Second // how long a broker keeps a lock without renewal
	lockMargin = 10 * time.Second
)

func (e *Engine) lockGroup() string { return msha.LockGroupPrefix + e.set.group }

// lock asks for one queue's lock and returns until when it may be trusted: from before the request was sent.
func (e *Engine) lock(ctx context.Context, q remoting.Queue) (until time.Time, ok bool, err error) {
	addr, err := e.cfg.Cluster.MasterAddr(ctx, q.Topic, q.Broker)
	if err != nil {
		return until, false, err
	}
	start := time.Now()
	got, err := e.cfg.Cluster.Lock(ctx, addr, e.lockGroup(), e.cfg.ClientID, []remoting.Queue{q})
	return start.Add(lockTime - lockMargin), slices.Contains(got, q), err
}

// renew extends the locks of all queues, those being given up included; one that was lost is given up.
func (e *Engine) renew(ctx context.Context) error {
	e.mu.Lock()
	var all []*held
	for _, h := range e.queues {
		all = append(all, h)
	}
	e.mu.Unlock()
	var errs error
	for _, h := range all {
		until, ok, err := e.lock(ctx, h.queue)
		switch {
		case err != nil:
			errs = errors.Join(errs, err)
		case ok:
			e.mu.Lock()
			h.trustUntil = until
			e.mu.Unlock()
		default:
			e.cfg.Logger.Warn("queue lock lost", "queue", h.queue.String())
			e.beginDrop(h)
			e.wg.Go(func() { e.release(e.ctx, h) }) //nolint:errcheck // the lock is gone already
		}
	}
	return errs
}

// acquire takes a queue: lock, the log to its end, an unreleased Hold of another process waited out, Hold, the start position, the
// Baseline; only then is it pulled.
func (e *Engine) acquire(ctx context.Context, q remoting.Queue, t topicOf) error {
	until, ok, err := e.lock(ctx, q)
	if err != nil || !ok {
		return err // somebody still finishes his work; the next round tries again
	}
	h := &held{queue: q, local: filter.LocalQueue{Topic: q.Topic, Broker: q.Broker, ID: q.ID}, home: t.home, unit: t.unit, trustUntil: until, done: make(chan struct{})}
	h.ctx, h.cancel = context.WithCancel(e.ctx)
	e.mu.Lock()
	e.queues[q] = h
	e.mu.Unlock()
	e.wg.Go(func() {
		for h.ctx.Err() == nil {
			err := e.open(h)
			if err == nil {
				e.pullLoop(h, t.sub)
				return
			}
			if h.ctx.Err() == nil {
				e.cfg.Logger.Warn("queue not opened, trying again", "queue", q.String(), "error", err)
				e.pause(retryInterval)
			}
		}
		close(h.done)
	})
	return nil
}

func (e *Engine) open(h *held) error {
	ctx, cancel := context.WithTimeout(h.ctx, lockTime+2*callTimeout)
	defer cancel()
	if err := e.readLog(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	holder, unreleased := e.tracker.Facts().Holder(h.local)
	e.mu.Unlock()
	if unreleased && holder.Writer != e.writer {
		// Broker locks die with the broker: this lock does not prove that the holder's has ended, its own trust in it does.
		e.cfg.Logger.Info("waiting for a holder that did not release the queue", "queue", h.queue.String(), "holder", holder.Client)
		select {
		case <-time.After(lockTime):
		case <-h.ctx.Done():
			return h.ctx.Err()
		}
		if err := e.readLog(ctx); err != nil {
			return err
		}
	}
	hold := filter.Record{Kind: filter.Hold, Group: e.set.group, Client: e.cfg.ClientID, Writer: e.writer, Local: h.local}
	if err := e.appendLog(ctx, h.queue.Broker, hold); err != nil {
		return err
	}
	start, err := e.startOffset(ctx, h)
	if err != nil {
		return err
	}
	origin, next, err := e.originAt(ctx, h, start)
	if err != nil {
		return err
	}
	if h.home != "" && h.unit == "" {
		if err := e.baseline(ctx, h, start); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	h.next, h.committed, h.ready = start, -1, true
	if h.home != "" {
		e.tracker.Acquire(h.local, origin, next)
	}
	e.unpark()
	e.poke(e.scan)
	e.cfg.Logger.Debug("queue acquired", "queue", h.queue.String(), "offset", start)
	return nil
}

// baseline records where a group starts in a home queue the first time it is managed.
func (e *Engine) baseline(ctx context.Context, h *held, start int64) error {
	q := e.homeOrigin(h.queue)
	e.mu.Lock()
	_, known := e.tracker.Facts().Baseline(q)
	e.mu.Unlock()
	if known {
		return nil
	}
	r := filter.Record{Kind: filter.Baseline, Group: e.set.group, Queue: q, Offset: start}
	if err := e.appendLog(ctx, h.queue.Broker, r); err != nil {
		return err
	}
	return e.readLog(ctx) // the first one in the log counts
}

// startOffset is the committed offset, or where the options say that a new group starts. Replica and retry queues begin at their start.
func (e *Engine) startOffset(ctx context.Context, h *held) (int64, error) {
	off, err := e.cfg.Cluster.CommittedOffset(ctx, e.set.group, h.queue)
	if err == nil {
		low, lerr := e.cfg.Cluster.MinOffset(ctx, h.queue)
		return max(off, low), lerr
	}
	if !errors.Is(err, msha.ErrNotFound) {
		return 0, err
	}
	if h.home == "" || h.unit != "" {
		return e.cfg.Cluster.MinOffset(ctx, h.queue)
	}
	e.mu.Lock()
	base, known := e.tracker.Facts().Baseline(e.homeOrigin(h.queue))
	e.mu.Unlock()
	if known {
		return base, nil
	}
	switch e.set.from {
	case consumer.ConsumeFromFirstOffset:
		return e.cfg.Cluster.MinOffset(ctx, h.queue)
	case consumer.ConsumeFromTimestamp:
		at, err := time.ParseInLocation("20060102150405", e.set.timestamp, time.Local)
		if err != nil {
			return 0, msha.Errorf("consume.start", h.queue.String(), "use the form 20060102150405", "%w: consume timestamp %q", msha.ErrInvalid, e.set.timestamp)
		}
		return e.cfg.Cluster.OffsetByTime(ctx, h.queue, at)
	}
	return e.cfg.Cluster.MaxOffset(ctx, h.queue)
}

// originAt finds which origin offset a local position stands for.
func (e *Engine) originAt(ctx context.Context, h *held, start int64) (msha.OriginQueue, int64, error) {
	if h.home == "" {
		return msha.OriginQueue{}, 0, nil
	}
	if h.unit == "" {
		return e.homeOrigin(h.queue), start, nil
	}
	low, err := e.cfg.Cluster.MinOffset(ctx, h.queue)
	if err != nil || start <= low {
		return msha.OriginQueue{}, 0, err
	}
	o, err := e.originOf(ctx, h.queue, start-1)
	return o.OriginQueue, o.Offset + 1, err
}

// beginDrop stops starting a queue's messages; those in the buffer are forgotten.
func (e *Engine) beginDrop(h *held) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.dropped {
		return
	}
	h.dropped = true
	h.cancel()
	keep := func(items []*item) []*item {
		return slices.DeleteFunc(slices.Clone(items), func(it *item) bool {
			if it.h == h && it.rescan {
				e.rescans--
			}
			return it.h == h
		})
	}
	e.ready, e.parked = keep(e.ready), keep(e.parked)
	e.broadcast()
}

// release finishes what runs, publishes, commits and unlocks a queue that beginDrop was called for.
func (e *Engine) release(ctx context.Context, h *held) error {
	if err := e.await(ctx, func() bool { return h.running == 0 }); err != nil {
		return err
	}
	<-h.done
	e.mu.Lock()
	if e.queues[h.queue] != h {
		e.mu.Unlock()
		return nil
	}
	e.mu.Unlock()
	if err := e.publish(ctx); err != nil {
		return err
	}
	r := filter.Record{Kind: filter.Release, Group: e.set.group, Client: e.cfg.ClientID, Writer: e.writer, Local: h.local}
	if err := e.insist(ctx, h.queue.Broker, r); err != nil {
		return err
	}
	e.mu.Lock()
	delete(e.queues, h.queue)
	e.tracker.Drop(h.local)
	e.mu.Unlock()
	addr, err := e.cfg.Cluster.MasterAddr(ctx, h.queue.Topic, h.queue.Broker)
	if err != nil {
		return err
	}
	return e.cfg.Cluster.Unlock(ctx, addr, e.lockGroup(), e.cfg.ClientID, []remoting.Queue{h.queue})
}

// releaseAll gives every queue up.
func (e *Engine) releaseAll(ctx context.Context) error {
	e.mu.Lock()
	var all []*held
	for _, h := range e.queues {
		all = append(all, h)
	}
	e.mu.Unlock()
	for _, h := range all {
		e.beginDrop(h)
	}
	var errs error
	for _, h := range all {
		errs = errors.Join(errs, e.release(ctx, h))
	}
	return errs
}
