package sim

import (
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// acquire takes a queue: its lock, the log to its end, an unreleased Hold of another process waited out, Hold, the start position,
// the Baseline; only then is it pulled.
func (a *agent) acquire(q *queue) {
	h := &held{q: q, in: a.in, committed: -1}
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
		behind := int64(-1)
		if a.w.mutation == ForeignUnread {
			behind = filter.End
		}
		a.startReading(h, behind)
	})
}

// startReading finds where a generation begins, and says where the group does.
func (a *agent) startReading(h *held, behind int64) {
	broker := h.q.local.Broker
	var start, skip, committed int64
	ok, again := false, false
	a.call(func() {
		committed = h.q.committed
		start, skip, ok, again = a.startOffset(h, committed, h.q.end(), behind)
	}, func(err error) {
		if err != nil {
			a.open(h)
			return
		}
		if again {
			a.readLog(broker, func() { a.startReading(h, committed) })
			return
		}
		if !ok {
			a.after(200, func() { a.reopen(h) })
			return
		}
		var missing []filter.Record
		if h.home() {
			missing = a.baselines(h, start)
		}
		if len(missing) == 0 {
			a.opened(h, start, skip)
			return
		}
		a.insist(broker, missing, func(end int64) {
			ends := map[string]int64{broker: end}
			a.reach(ends, func() { a.reopen(h) }, func() { a.opened(h, start, skip) })
		})
	})
}

// reopen begins the opening of a queue anew.
func (a *agent) reopen(h *held) {
	h.in, h.last = a.in, nil
	a.open(h)
}

func (a *agent) opened(h *held, start, skip int64) {
	if a.closed(h) {
		return
	}
	if a.raised(h) || start > h.q.end() {
		a.reopen(h)
		return
	}
	h.first, h.next, h.ready = start, start, true
	switch {
	case h.home():
		h.acquiredAt = start
		a.t.AcquireHome(h.q.local, h.q.origin, h.in, start)
	case !h.retry() && start > 0:
		o := h.q.items[start-1].id
		h.acquiredAt = o.Offset + 1
		a.t.AcquireReplica(h.q.local, o.OriginQueue, o.Offset+1)
	case !h.retry():
		a.t.AcquireReplica(h.q.local, msha.OriginQueue{}, 0)
	}
	if skip >= 0 {
		a.skipTo(h, skip)
	}
	a.trace("acquired", msha.Origin{}, h.q.local.String())
	a.unpark()
	a.scan()
	a.pull(h)
}
