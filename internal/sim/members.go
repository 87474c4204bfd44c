package sim

import (
	"slices"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// notified is the broker's notice that the consumer list changed.
func (a *agent) notified() {
	a.heartbeatSoon()
}

func (a *agent) heartbeatSoon() {
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
			if want[q.local] && a.held[q.local] == nil && !a.anew {
				a.acquire(q)
			}
		}
	}
	a.releaseStrays()
	if a.w.mutation != NoVoid && !a.anew {
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
			a.left[h.q.local] = h.leftover()
			a.trace("released", msha.Origin{}, h.q.local.String())
			a.broadcast()
		}
		if a.w.mutation == ReleaseBeforeFacts {
			release(func() { a.publish(finish) })
			return
		}
		a.carry(h, func() { a.publish(func() { release(finish) }) })
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
