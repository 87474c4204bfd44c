package sim

import (
	"fmt"
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// enter puts the process where switches look for it, then learns the table: the roster first, so that the next switch waits for it;
// the consumer list second, so that the one confirming now sees it; the table last, so that the one that has confirmed already is
// known here.
func (a *agent) enter(then func()) {
	asked := a.w.now
	if a.w.mutation == StaleJoin && a.table == nil {
		a.tableArrived(a.w.staleTable())
	}
	a.entered++
	session := fmt.Sprintf("%s-%d", a.writer, a.entered)
	a.c.ask(func() error {
		a.w.store.roster = a.w.store.roster.With(msha.RosterMember{ClientID: a.client, Session: session, Unit: a.c.unit, Groups: []string{group}})
		return nil
	}, func(err error) {
		a.on(func() {
			if err != nil {
				a.after(a.w.between(200, 400), func() { a.enter(then) })
				return
			}
			a.call(func() { a.c.register(a.client, a.writer) }, func(err error) {
				if err != nil {
					a.after(100, func() { a.enter(then) })
					return
				}
				a.learn(func(ok bool) {
					if !ok {
						a.after(a.w.between(200, 400), func() { a.enter(then) })
						return
					}
					a.lastSeen, a.lapsed = asked, false
					then()
				})
			})
		})
	})
}

// learn reads the table linearizably.
func (a *agent) learn(then func(ok bool)) {
	if a.w.mutation == StaleJoin && a.table != nil {
		then(true)
		return
	}
	var t *msha.Table
	var in *msha.Incarnations
	asked := a.w.now
	a.c.ask(func() error {
		t, in = a.w.store.table, a.w.history.of(a.c.unit)
		return nil
	}, func(err error) {
		a.on(func() {
			if err == nil {
				a.incarnationsArrived(in)
				a.tableArrived(t)
				a.confirmed = max(a.confirmed, asked)
				a.broadcast()
			}
			then(err == nil)
		})
	})
}

// begin starts to consume.
func (a *agent) begin() {
	a.trace("started", msha.Origin{}, "")
	a.phase = running
	for _, f := range a.logs {
		a.follow(f)
	}
	a.react()
	a.heartbeat()
	a.publishLoop()
	if a.w.o.strict {
		a.confirmLoop()
	}
}

// confirmLoop reads the table again and again: in Strict mode nothing starts under one that was not confirmed within G.
func (a *agent) confirmLoop() {
	a.after(a.w.between(tick/2, tick), func() {
		if a.phase == running {
			a.learn(func(bool) {})
			a.confirmLoop()
		}
	})
}

// gate says whether this process may decide about messages of a queue: the queue's lock is trusted, its broker has not been away since the facts
// were read, and the client was in the consumer list within G. Once it was not, a switch may have passed the process over; a heartbeat alone does not change that.
func (a *agent) gate(h *held) bool {
	if a.w.now-a.lastSeen >= gateWindow {
		a.lapse()
	}
	confirmed := !a.w.o.strict || a.w.now-a.confirmed < gateWindow
	return !a.lapsed && confirmed && a.phase == running && a.w.now < h.trustUntil && !a.doubts(h.q.local.Broker)
}

// doubts tells whether a broker was away and its log is not looked at again yet.
func (a *agent) doubts(broker string) bool {
	return a.w.mutation != NoLogCheck && slices.ContainsFunc(a.logs, func(f *follower) bool { return f.own && f.suspect && f.log.broker == broker })
}

func (a *agent) lapse() {
	if !a.lapsed {
		a.lapsed = true
		a.w.counts.LapsedGates++
		a.trace("gate lapsed", msha.Origin{}, "")
	}
}

// tableArrived makes a newer table the one that decides.
func (a *agent) tableArrived(t *msha.Table) {
	if a.table != nil && t.Version <= a.table.Version || a.phase == stopped {
		return
	}
	a.table = t
	if a.w.mutation == ForgetsForced {
		t = withoutForced(t)
	}
	if a.t.SetTable(t) && a.w.mutation != NoUnsettle {
		a.unsettle()
	}
	a.trace("table applied", msha.Origin{}, describe(t))
	a.unpark()
	if a.phase != joining {
		a.react()
	}
}

// react brings the agent to where the table wants it: what it no longer lets start has ended, facts are published, the version is
// acknowledged in every log; then the log is read up to the acknowledgement, and what the table gives is looked for.
func (a *agent) react() {
	t := a.table
	newer := func() bool { return a.table != t }
	a.await(func() bool { return newer() || a.t.Drained() || a.w.mutation == AckBeforeDrain }, func() {
		if newer() {
			return
		}
		acknowledge := func() {
			if newer() {
				return
			}
			ack := filter.Record{Kind: filter.Ack, Group: group, Client: a.client, Writer: a.writer, Version: t.Version}
			ends, left := map[string]int64{}, len(a.c.brokers)
			for _, broker := range a.c.brokers {
				a.insist(broker, []filter.Record{ack}, func(end int64) {
					if ends[broker], left = end, left-1; left > 0 {
						return
					}
					a.acked = max(a.acked, t.Version)
					epoch := a.epoch
					a.await(func() bool { return newer() || a.epoch != epoch || a.readTo(ends) }, func() {
						if newer() {
							return
						}
						if a.epoch != epoch {
							a.react()
							return
						}
						a.t.CaughtUp(t.Version)
						a.trace("caught up", msha.Origin{}, "")
						a.unpark()
						a.scan()
					})
				})
			}
		}
		if a.w.mutation == AckBeforeFacts {
			acknowledge()
			return
		}
		a.publish(acknowledge)
	})
}

func withoutForced(t *msha.Table) *msha.Table {
	out := &msha.Table{Version: t.Version, Rules: t.Rules, Sets: map[string]msha.RouteSet{}}
	for id, s := range t.Sets {
		s.Forced = nil
		out.Sets[id] = s
	}
	return out.Index()
}
