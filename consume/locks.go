package consume

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	readerGroup   = "MSHA_ENGINE" // side reads and the fact log: no subscription, no offsets
	longPoll      = 15 * time.Second
	retryInterval = 200 * time.Millisecond
)

// limits are the durations that servers dictate, or that all processes of a group have to agree on; tests shorten them.
type limits struct {
	trust  time.Duration // how long the holder of a lock relies on it after each renewal, far below the 60 s that brokers keep it
	margin time.Duration // how much longer others wait before they count on that
	call   time.Duration // what an answer to a write may take
	store  time.Duration // what the metastore may take before a process that has worked counts it as down: its gate closes again meanwhile
	settle time.Duration // how long a restarted broker may take to show all it has stored: its queues are built from its log
	begin  time.Duration // how long the copy of a record that says where a group begins may take
}

func defaultLimits() limits {
	return limits{trust: 10 * time.Second, margin: time.Second, call: 10 * time.Second, store: 4 * time.Second, settle: 30 * time.Second, begin: 10 * time.Second}
}

func (e *Engine) lockGroup() string { return msha.LockGroupPrefix + e.set.group }

// lock asks for the locks of queues. got has those a broker answered about; until is how long the others' locks may be trusted: counted
// from before the request was sent.
func (e *Engine) lock(ctx context.Context, queues []remoting.Queue) (until time.Time, got map[remoting.Queue]bool, err error) {
	until, got = e.cfg.Now().Add(e.limits.trust), map[remoting.Queue]bool{}
	var mu sync.Mutex
	err = e.perBroker(ctx, queues, func(ctx context.Context, addr string, qs []remoting.Queue) error {
		ok, err := e.cfg.Cluster.Lock(ctx, addr, e.lockGroup(), e.cfg.ClientID, qs)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, q := range qs {
			got[q] = slices.Contains(ok, q)
		}
		return nil
	})
	return until, got, err
}

// perBroker calls f once for each broker with its queues, all at once.
func (e *Engine) perBroker(ctx context.Context, queues []remoting.Queue, f func(ctx context.Context, addr string, qs []remoting.Queue) error) error {
	byBroker, addrs := map[string][]remoting.Queue{}, map[string]string{}
	var all error
	for _, q := range queues {
		if byBroker[q.Broker] == nil {
			addr, err := e.cfg.Cluster.MasterAddr(ctx, "", q.Broker)
			if err != nil {
				all = errors.Join(all, err)
				continue
			}
			addrs[q.Broker] = addr
		}
		byBroker[q.Broker] = append(byBroker[q.Broker], q)
	}
	return errors.Join(all, eachBroker(ctx, addrs, func(ctx context.Context, broker, addr string) error {
		return f(ctx, addr, byBroker[broker])
	}))
}

// renewLoop extends the locks until the engine ends. It does not wait for what acquires queues: a broker that hangs must not cost the
// locks at the others.
func (e *Engine) renewLoop() {
	tick := time.NewTicker(e.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			return
		}
		if err := e.renew(e.ctx); err != nil && e.ctx.Err() == nil {
			e.cfg.Logger.Warn("queue locks not renewed, trying again", "error", err)
		}
	}
}

// renew extends the locks of all queues, those being given up included; one that was lost is given up.
func (e *Engine) renew(ctx context.Context) error {
	if err := e.locking.take(ctx); err != nil {
		return err
	}
	defer e.locking.give()
	e.mu.Lock()
	asked := maps.Clone(e.queues)
	e.mu.Unlock()
	until, got, err := e.lock(ctx, slices.Collect(maps.Keys(asked)))
	e.mu.Lock()
	defer e.mu.Unlock()
	for q, h := range asked {
		switch ok, answered := got[q]; {
		case !answered || e.queues[q] != h:
		case ok && e.cfg.Now().Before(h.trustUntil): // later it may be a new lock, with another holder between the two
			h.trustUntil = until
		case !h.dropped:
			e.cfg.Logger.Warn("queue lock lost", "queue", q.String())
			e.giveUp(h)
		}
	}
	e.wakeAll()
	return err
}

// acquire takes the wanted queues that it can lock; busy says that the holder of another one still finishes its work.
func (e *Engine) acquire(ctx context.Context, want map[remoting.Queue]topicOf) (busy bool, err error) {
	e.mu.Lock()
	if e.anew {
		e.mu.Unlock()
		return true, nil
	}
	var queues []remoting.Queue
	for q := range want {
		if h := e.queues[q]; h == nil {
			queues = append(queues, q)
		} else {
			busy = busy || h.dropped
		}
	}
	e.mu.Unlock()
	until, got, err := e.lock(ctx, queues)
	freed := e.unlockForDead(ctx, got)
	freedUntil, again, ferr := e.lock(ctx, freed)
	maps.Copy(got, again)
	err = errors.Join(err, ferr)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, q := range queues {
		if !got[q] || e.anew {
			busy = true
			continue
		}
		trust := until
		if slices.Contains(freed, q) {
			trust = freedUntil
		}
		h := e.newHeld(q, want[q], trust)
		e.queues[q] = h
		e.wg.Go(func() { e.hold(h) })
	}
	return busy, err
}

// openQueue makes a locked queue ready: the log to its end, another process's unreleased Hold waited out, Hold, the start position, the
// Baseline.
func (e *Engine) openQueue(h *held) error {
	e.mu.Lock()
	h.in, h.log = e.in, e.ownLog(h.queue.Broker)
	e.mu.Unlock()
	if h.log == nil {
		return msha.Errorf("consume.open", h.queue.String(), "", "fact log of its broker %w yet", msha.ErrNotFound)
	}
	if err := e.filtered(h); err != nil {
		return err
	}
	if err := e.readLog(h.ctx, h.queue.Broker); err != nil {
		return err
	}
	if err := e.awaitRelease(h); err != nil {
		return err
	}
	hold := filter.Record{Kind: filter.Hold, Group: e.set.group, Client: e.cfg.ClientID, Writer: e.writer, Local: h.local}
	if _, err := e.appendLog(e.ctx, h.queue.Broker, hold); err != nil { // not h.ctx: a Hold that was given up would be stored all the same, some time
		return err
	}
	start, wish, err := e.startOffset(h.ctx, h)
	if err != nil {
		return err
	}
	if wish == notAsked { // otherwise it is the decision of who committed it
		if err := e.sameAsLeft(h, start); err != nil {
			return err
		}
	}
	origin, next, err := e.originAt(h.ctx, h, start)
	if err != nil {
		return err
	}
	if h.home != "" && h.unit == "" {
		if err := e.baseline(h.ctx, h, start); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.raised(h) {
		return errRaised
	}
	h.first, h.next, h.open = start, start, true
	if h.asked == notAsked {
		h.asked = wish
	}
	switch {
	case h.home == "" || h.dropped:
	case h.unit == "":
		e.tracker.AcquireHome(h.local, origin, h.in, start)
	default:
		e.tracker.AcquireReplica(h.local, origin, next)
	}
	e.unpark()
	e.cfg.Logger.Debug("queue acquired", "queue", h.queue.String(), "offset", start)
	return nil
}

// giveUp drops a queue and gives it back in the background; the lock is held.
func (e *Engine) giveUp(h *held) {
	if h.dropped {
		return
	}
	e.drop(h)
	e.wg.Go(func() {
		if e.await(e.ctx, func() bool { return h.running == 0 }) != nil {
			return
		}
		for {
			err := e.release(e.ctx, []*held{h})
			if err == nil || e.ctx.Err() != nil {
				return
			}
			e.cfg.Logger.Warn("queue not given back, trying again", "queue", h.queue.String(), "error", err)
			pause(e.ctx, retryInterval)
		}
	})
}

// drop ends a queue's generation apart from what is running: nothing is read or started any more, what waits is forgotten. The lock is
// held.
func (e *Engine) drop(h *held) {
	if h.dropped {
		return
	}
	h.dropped = true
	h.cancel()
	h.ready, h.rescans = nil, 0
	e.parked = slices.DeleteFunc(slices.Clone(e.parked), func(it *item) bool { return it.h == h })
	e.broadcast()
}

// release gives back dropped queues of which nothing runs: facts are published, offsets committed and Release is in the log before the
// next holder gets the locks. A broker that fails or hangs keeps only its own queues. It may be repeated.
func (e *Engine) release(ctx context.Context, hs []*held) error {
	byBroker := map[string][]*held{}
	for _, h := range hs {
		<-h.done
		byBroker[h.queue.Broker] = append(byBroker[h.queue.Broker], h)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all error
	for broker, hs := range byBroker {
		wg.Go(func() {
			if err := e.releaseAt(ctx, broker, hs); err != nil {
				mu.Lock()
				defer mu.Unlock()
				all = errors.Join(all, err)
			}
		})
	}
	wg.Wait()
	return all
}

// releaseAt gives back queues of one broker.
func (e *Engine) releaseAt(ctx context.Context, broker string, hs []*held) error {
	e.mu.Lock()
	hs = slices.DeleteFunc(slices.Clone(hs), func(h *held) bool { return e.queues[h.queue] != h }) // given back already
	e.mu.Unlock()
	if len(hs) == 0 {
		return nil
	}
	for _, h := range hs {
		if err := e.carry(ctx, h); err != nil {
			return err
		}
	}
	if err := e.publishAt(ctx, broker, true); err != nil {
		return err
	}
	var queues []remoting.Queue
	var records []filter.Record
	for _, h := range hs {
		queues = append(queues, h.queue)
		records = append(records, filter.Record{Kind: filter.Release, Group: e.set.group, Client: e.cfg.ClientID, Writer: e.writer, Local: h.local})
	}
	if _, err := e.appendLog(ctx, broker, records...); err != nil {
		return err
	}
	// Unlock comes before the queue can be acquired again here: afterwards it would free the new generation's lock. And not while a
	// renewal is under way: the broker could see that one last.
	if err := e.locking.take(ctx); err != nil {
		return err
	}
	defer e.locking.give()
	if err := e.perBroker(ctx, queues, func(ctx context.Context, addr string, qs []remoting.Queue) error {
		return e.cfg.Cluster.Unlock(ctx, addr, e.lockGroup(), e.cfg.ClientID, qs)
	}); err != nil {
		e.cfg.Logger.Warn("queues stay locked until their locks expire", "queues", len(queues), "error", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range hs {
		if e.queues[h.queue] == h {
			delete(e.queues, h.queue)
			e.tracker.Drop(h.local)
			e.left[h.queue] = e.leftover(h)
		}
	}
	e.poke(e.notify)
	return nil
}
