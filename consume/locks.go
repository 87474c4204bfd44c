package consume

import (
	"context"
	"errors"
	"maps"
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

// lock asks for the locks of queues and returns those this client now holds, with the time until when they may be trusted: counted
// from before the request was sent.
func (e *Engine) lock(ctx context.Context, queues []remoting.Queue) (until time.Time, got map[remoting.Queue]bool, err error) {
	until, got = time.Now().Add(lockTime-lockMargin), map[remoting.Queue]bool{}
	err = e.perBroker(ctx, queues, func(addr string, qs []remoting.Queue) error {
		ok, err := e.cfg.Cluster.Lock(ctx, addr, e.lockGroup(), e.cfg.ClientID, qs)
		for _, q := range ok {
			got[q] = true
		}
		for _, q := range qs {
			if _, answered := got[q]; !answered && err == nil {
				got[q] = false
			}
		}
		return err
	})
	return until, got, err
}

// perBroker calls f once for each broker with its queues; one that fails does not keep the others from their turn.
func (e *Engine) perBroker(ctx context.Context, queues []remoting.Queue, f func(addr string, qs []remoting.Queue) error) error {
	byBroker := map[string][]remoting.Queue{}
	for _, q := range queues {
		byBroker[q.Broker] = append(byBroker[q.Broker], q)
	}
	var all error
	for _, broker := range slices.Sorted(maps.Keys(byBroker)) {
		addr, err := e.cfg.Cluster.MasterAddr(ctx, "", broker)
		if err == nil {
			err = f(addr, byBroker[broker])
		}
		all = errors.Join(all, err)
	}
	return all
}

// renew extends the locks of all queues, those being given up included; one that was lost is given up.
func (e *Engine) renew(ctx context.Context) error {
	e.mu.Lock()
	queues := slices.Collect(maps.Keys(e.queues))
	e.mu.Unlock()
	until, got, err := e.lock(ctx, queues)
	e.mu.Lock()
	var lost []*held
	for q, ok := range got {
		switch h := e.queues[q]; {
		case h == nil:
		case ok:
			h.trustUntil = until
		case !h.dropped:
			lost = append(lost, h)
		}
	}
	e.broadcast()
	e.mu.Unlock()
	for _, h := range lost {
		e.cfg.Logger.Warn("queue lock lost", "queue", h.queue.String())
		e.giveUp(h)
	}
	return err
}

// acquire takes the wanted queues that it can lock; busy says that the holder of another one still finishes its work.
func (e *Engine) acquire(ctx context.Context, want map[remoting.Queue]topicOf) (busy bool, err error) {
	e.mu.Lock()
	var queues []remoting.Queue
	for q := range want {
		if e.queues[q] == nil {
			queues = append(queues, q)
		}
	}
	e.mu.Unlock()
	until, got, err := e.lock(ctx, queues)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, q := range queues {
		if !got[q] {
			busy = true
			continue
		}
		t := want[q]
		h := &held{queue: q, local: filter.LocalQueue{Topic: q.Topic, Broker: q.Broker, ID: q.ID}, home: t.home, unit: t.unit, trustUntil: until, done: make(chan struct{})}
		h.ctx, h.cancel = context.WithCancel(e.ctx)
		e.queues[q] = h
		e.wg.Go(func() { e.hold(h, t.sub) })
	}
	return busy, err
}

// hold opens a queue and reads it until it is given up.
func (e *Engine) hold(h *held, sub *subscription) {
	defer close(h.done)
	for h.ctx.Err() == nil {
		err := e.open(h)
		if err == nil {
			e.pullLoop(h, sub)
			return
		}
		if h.ctx.Err() == nil {
			e.cfg.Logger.Warn("queue not opened, trying again", "queue", h.queue.String(), "error", err)
			e.pause(retryInterval)
		}
	}
}

// open makes a locked queue ready: the log to its end, an unreleased Hold of another process waited out, Hold, the start position,
// the Baseline.
func (e *Engine) open(h *held) error {
	ctx, cancel := context.WithTimeout(h.ctx, lockTime+2*callTimeout)
	defer cancel()
	if err := e.readLog(ctx, h.queue.Broker); err != nil {
		return err
	}
	if err := e.awaitRelease(ctx, h); err != nil {
		return err
	}
	hold := filter.Record{Kind: filter.Hold, Group: e.set.group, Client: e.cfg.ClientID, Writer: e.writer, Local: h.local}
	if _, err := e.appendLog(ctx, h.queue.Broker, hold); err != nil {
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

// awaitRelease waits for another process's Release if the log holds its Hold. Broker locks die with the broker, so this client's lock
// does not prove that the other one has ended; that its own trust in the lock has run out does.
func (e *Engine) awaitRelease(ctx context.Context, h *held) error {
	said := false
	released := func() bool {
		holder, held := e.tracker.Facts().Holder(h.local)
		if held && holder.Writer != e.writer && !said {
			said = true
			e.cfg.Logger.Info("waiting for a holder that did not release the queue", "queue", h.queue.String(), "holder", holder.Client)
		}
		return !held || holder.Writer == e.writer
	}
	waitCtx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	if err := e.await(waitCtx, released); err == nil || ctx.Err() != nil {
		return err
	}
	return e.readLog(ctx, h.queue.Broker)
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
	end, err := e.appendLog(ctx, h.queue.Broker, r)
	if err != nil {
		return err
	}
	return e.readTo(ctx, map[string]int64{h.queue.Broker: end}) // the first one in the log counts
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

// giveUp stops starting a queue's messages, forgets those in the buffer and gives the queue back in the background.
func (e *Engine) giveUp(h *held) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.dropped {
		return
	}
	e.drop(h)
	e.wg.Go(func() {
		for e.ctx.Err() == nil {
			err := e.release(e.ctx, []*held{h})
			if err == nil || e.ctx.Err() != nil {
				return
			}
			e.cfg.Logger.Warn("queue not given back, trying again", "queue", h.queue.String(), "error", err)
			e.pause(retryInterval)
		}
	})
}

// drop ends a queue's generation apart from what is running; the lock is held.
func (e *Engine) drop(h *held) {
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

// release gives dropped queues back: what runs has ended, facts are published, offsets committed and Release is in the log before the
// next holder gets the locks. It may be repeated.
func (e *Engine) release(ctx context.Context, hs []*held) error {
	for _, h := range hs {
		if err := e.await(ctx, func() bool { return h.running == 0 }); err != nil {
			return err
		}
		<-h.done
	}
	if err := e.publish(ctx); err != nil {
		return err
	}
	releases := map[string][]filter.Record{}
	var queues []remoting.Queue
	for _, h := range hs {
		queues = append(queues, h.queue)
		releases[h.queue.Broker] = append(releases[h.queue.Broker], filter.Record{Kind: filter.Release, Group: e.set.group, Client: e.cfg.ClientID, Writer: e.writer, Local: h.local})
	}
	for broker, records := range releases {
		if _, err := e.appendLog(ctx, broker, records...); err != nil {
			return err
		}
	}
	e.mu.Lock()
	for _, h := range hs {
		delete(e.queues, h.queue)
		e.tracker.Drop(h.local)
	}
	e.mu.Unlock()
	return e.perBroker(ctx, queues, func(addr string, qs []remoting.Queue) error {
		err := e.cfg.Cluster.Unlock(ctx, addr, e.lockGroup(), e.cfg.ClientID, qs)
		if err != nil {
			e.cfg.Logger.Warn("queues stay locked until their locks expire", "queues", len(qs), "error", err)
		}
		return nil
	})
}

// releaseAll gives every queue up.
func (e *Engine) releaseAll(ctx context.Context) error {
	e.mu.Lock()
	all := slices.Collect(maps.Values(e.queues))
	for _, h := range all {
		e.drop(h)
	}
	e.mu.Unlock()
	for {
		err := e.release(ctx, all)
		if err == nil || ctx.Err() != nil {
			return err
		}
		e.cfg.Logger.Warn("queues not given back, trying again", "error", err)
		e.pause(retryInterval)
	}
}
