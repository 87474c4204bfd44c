package sim

import (
	"slices"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// notified is the broker's notice that the consumer list changed.
func (a *agent) notified() {
	if a.phase == running && !a.beating {
		a.rebalance()
	}
}

// heartbeat rebalances until the agent stops.
func (a *agent) heartbeat() {
	if a.phase != running {
		return
	}
	if !a.beating {
		a.rebalance()
	}
	a.after(a.w.between(tick/2, tick*3/2), a.heartbeat)
}

// rebalance registers, gives up the queues that are somebody else's now, renews the locks and takes new queues.
func (a *agent) rebalance() {
	a.beating = true
	finish := func() { a.beating = false }
	asked := a.w.now
	lapsed := a.lapsed || asked-a.lastSeen >= gateWindow
	if lapsed && a.w.mutation != HeartbeatOpensGate {
		a.lapse()
		a.enter(func() {
			finish()
			a.broadcast()
		})
		return
	}
	var ids []string
	a.call(func() {
		a.c.register(a.client, a.writer)
		ids = a.c.listed()
	}, func(err error) {
		if err != nil || a.phase != running {
			finish()
			return
		}
		if a.w.mutation == HeartbeatOpensGate {
			a.lapsed = false
		}
		if !a.lapsed {
			a.lastSeen = max(a.lastSeen, asked)
		}
		a.broadcast()
		a.reallocate(ids)
		finish()
	})
}

func (a *agent) reallocate(ids []string) {
	want := map[filter.LocalQueue]bool{}
	for _, name := range a.c.topicNames() {
		for i, q := range a.c.topics[name] {
			if n := len(a.c.topics[name]); ids[i*len(ids)/n] == a.client {
				want[q.local] = true
			}
		}
	}
	for _, h := range a.heldSorted() {
		if !want[h.q.local] {
			a.giveUp(h)
		}
	}
	for _, h := range a.heldSorted() {
		a.renew(h)
	}
	for _, name := range a.c.topicNames() {
		for _, q := range a.c.topics[name] {
			if want[q.local] && a.held[q.local] == nil {
				a.acquire(q)
			}
		}
	}
	if a.w.mutation != NoVoid {
		a.voidDead(ids)
	}
}

func (c *cluster) topicNames() []string {
	names := []string{topic, retryTopic}
	for _, other := range c.w.clusters {
		if other != c {
			names = append(names, msha.ReplicaTopic(topic, other.unit))
		}
	}
	return names
}

func (a *agent) heldSorted() []*held {
	var out []*held
	for _, h := range a.held {
		out = append(out, h)
	}
	slices.SortFunc(out, func(x, y *held) int { return strings.Compare(x.q.local.String(), y.q.local.String()) })
	return out
}

// renew extends a lock. An answer that comes after the trust in the lock has ended proves nothing: the lock may have run out, somebody
// else may have held the queue meanwhile and given it back. What was read and buffered before is of the past then.
func (a *agent) renew(h *held) {
	if h.trustUntil == 0 { // its first lock has not been answered
		return
	}
	asked := a.w.now
	ok := false
	a.call(func() { ok = a.c.lock(h.q, a.client) }, func(err error) {
		switch {
		case err != nil:
		case ok && (a.w.now < h.trustUntil || a.w.mutation == LateRenewal):
			h.trustUntil = asked + trustTime
			a.broadcast()
		case !h.dropped && a.held[h.q.local] == h:
			a.trace("lock lost", msha.Origin{}, h.q.local.String())
			a.w.counts.LostLocks++
			a.giveUp(h)
		}
	})
}

// acquire takes a queue: its lock, the log to its end, an unreleased Hold of another process waited out, Hold, the start position,
// the Baseline; only then is it pulled.
func (a *agent) acquire(q *queue) {
	h := &held{q: q, committed: -1}
	a.held[q.local] = h
	asked := a.w.now
	ok := false
	a.call(func() { ok = a.c.lock(q, a.client) }, func(err error) {
		if a.w.mutation == NoLock {
			ok, err = true, nil
		}
		if err == nil && !ok {
			a.unlockDead(q)
		}
		if err != nil || !ok {
			delete(a.held, q.local) // somebody still finishes his work; the next round tries again
			a.broadcast()
			return
		}
		h.trustUntil, h.lockedAt = asked+trustTime, a.w.now
		if a.closed(h) {
			return
		}
		if a.w.mutation == NoLogRead {
			a.awaitRelease(h)
			return
		}
		a.readLog(q.local.Broker, func() { a.awaitRelease(h) })
	})
}

// unlockDead gives the lock of a holder back that no broker lists: it has died, or will notice that it has lost it.
func (a *agent) unlockDead(q *queue) {
	holder, held := a.t.Facts().Holder(q.local)
	if !held || holder.Client == a.client {
		return
	}
	listed := true
	a.call(func() { listed = slices.Contains(a.c.listed(), holder.Client) }, func(err error) {
		if err != nil || listed {
			return
		}
		a.call(func() {
			if q.holder == holder.Client {
				a.w.counts.TakenLocks++
				a.trace("unlocked for the dead", msha.Origin{}, holder.Client+" "+q.local.String())
			}
			a.c.unlock(q, holder.Client)
		}, func(error) {})
	})
}

// closed ends the opening of a queue that is given up meanwhile.
func (a *agent) closed(h *held) bool {
	if h.dropped {
		h.done = true
		a.broadcast()
	}
	return h.dropped
}

// awaitRelease waits until the holder that the log names has released the queue, or relies on its lock no more and is not listed: until then what
// it has started may run.
func (a *agent) awaitRelease(h *held) {
	var other filter.Record
	released := func() bool {
		holder, held := a.t.Facts().Holder(h.q.local)
		other = holder
		return !held || holder.Writer == a.writer || a.w.mutation == NoLock
	}
	over := false
	a.await(func() bool { return over || h.dropped || released() }, func() {
		if a.closed(h) {
			return
		}
		if over {
			a.readLog(h.q.local.Broker, func() { a.open(h) })
			return
		}
		over = true
		a.open(h)
	})
	var look func()
	look = func() {
		if over || h.dropped {
			return
		}
		listed := true
		a.call(func() {
			listed = slices.Contains(a.c.listed(), other.Client) && a.c.members[other.Client].writer == other.Writer
		}, func(err error) {
			if err != nil || listed && a.w.mutation != PassesOverListed {
				a.after(tick, look)
				return
			}
			over = true
			if !listed {
				a.c.passOver(other.Client)
			}
			a.broadcast()
		})
	}
	if !over {
		wait := h.lockedAt + trustTime + trustMargin - a.w.now
		if a.w.mutation == NoTrustWait {
			wait = 0
		}
		a.after(wait, look)
	}
}

// passOver is where a process that is not listed counts as cut off if it is alive after all: what it has not published may repeat.
func (c *cluster) passOver(client string) {
	for _, a := range c.agents {
		if a.alive() && a.client == client {
			c.w.counts.PassedOver++
			a.trace("passed over", msha.Origin{}, "")
			a.excuse()
		}
	}
}

func (a *agent) open(h *held) {
	if a.closed(h) {
		return
	}
	broker := h.q.local.Broker
	hold := filter.Record{Kind: filter.Hold, Group: group, Client: a.client, Writer: a.writer, Local: h.q.local}
	a.insist(broker, []filter.Record{hold}, func(int64) {
		start := int64(0)
		a.call(func() { start = max(h.q.committed, 0) }, func(err error) {
			if err != nil {
				a.open(h)
				return
			}
			if _, known := a.t.Facts().Baseline(h.q.origin); !h.home() || known {
				a.opened(h, start)
				return
			}
			base := filter.Record{Kind: filter.Baseline, Group: group, Queue: h.q.origin, Offset: start}
			a.insist(broker, []filter.Record{base}, func(end int64) {
				ends := map[string]int64{broker: end}
				a.await(func() bool { return a.readTo(ends) }, func() { a.opened(h, start) })
			})
		})
	})
}

func (a *agent) opened(h *held, start int64) {
	if a.closed(h) {
		return
	}
	h.next, h.ready = start, true
	if !h.retry() {
		var origin msha.OriginQueue
		next := int64(0)
		switch {
		case h.home():
			origin, next = h.q.origin, start
		case start > 0:
			o := h.q.items[start-1].origin
			origin, next = o.OriginQueue, o.Offset+1
		}
		h.acquiredAt = next
		a.t.Acquire(h.q.local, origin, next)
	}
	a.trace("acquired", msha.Origin{}, h.q.local.String())
	a.unpark()
	a.scan()
	a.pull(h)
}

// giveUp stops starting a queue's messages, forgets those in the buffer and gives the queue back once what runs has ended, facts are
// published and offsets committed.
func (a *agent) giveUp(h *held) {
	if h.dropped {
		return
	}
	h.dropped = true
	if h.idle {
		h.done = true
	}
	mine := func(it *item) bool { return it.h == h }
	a.ready, a.parked = slices.DeleteFunc(a.ready, mine), slices.DeleteFunc(a.parked, mine)
	a.await(func() bool { return h.running == 0 && h.done }, func() {
		// The queue stays in the agent's list until its unlock has been answered: an unlock that arrives after this agent locked the
		// queue again would leave it with a lock that others can take.
		release := func(then func()) {
			r := filter.Record{Kind: filter.Release, Group: group, Client: a.client, Writer: a.writer, Local: h.q.local}
			a.insist(h.q.local.Broker, []filter.Record{r}, func(int64) {
				a.t.Drop(h.q.local)
				a.call(func() { a.c.unlock(h.q, a.client) }, func(error) { then() })
			})
		}
		finish := func() {
			delete(a.held, h.q.local)
			a.trace("released", msha.Origin{}, h.q.local.String())
			a.broadcast()
		}
		if a.w.mutation == ReleaseBeforeFacts {
			release(func() { a.publish(finish) })
			return
		}
		a.publish(func() { release(finish) })
	})
}

// voidDead ends the Opens whose writer died before its retry copy was known to be stored.
func (a *agent) voidDead(ids []string) {
	alive := func(client string) bool { return slices.Contains(ids, client) && a.w.mutation != VoidIsClose }
	for _, r := range a.t.Voidable(alive) {
		local, ok := a.t.LocalOf(r.Queue)
		if !ok {
			continue
		}
		if a.w.mutation == VoidIsClose {
			r.Kind = filter.Close
		}
		a.write(local.Broker, []filter.Record{r}, func(_ int64, err error) {
			if err == nil {
				a.w.counts.Voided++
				a.trace("voided", r.Origin(), r.Number)
			}
		})
	}
}
