package sim

import (
	"slices"

	"github.com/go-msha/msha/filter"
)

// follower reads one log, the unit's own or the copy of another unit's.
type follower struct {
	a       *agent
	log     *factLog
	own     bool
	next    int
	hurried bool // somebody waits for it
	reading bool
	last    *body // read last
	wrote   *body // written last by this process, which believes it before it has read it
	suspect bool  // its broker was away: it may have lost what was read
}

// wake has a follower that waits for more look again.
func (f *follower) wake() { f.a.on(func() { f.a.follow(f) }) }

// verify looks whether the body read last is still where it was. If not, the log lost its tail, and others may be stored there by now:
// all of it is read again.
func (f *follower) verify() {
	if f.a.w.mutation == NoLogCheck {
		f.next, f.suspect = min(f.next, len(f.log.bodies)), false
		return
	}
	f.suspect = false
	if f.own {
		f.a.epoch++ // what was to be read up to may be lost, although nothing of it was read
	}
	if !f.log.has(f.last) || !f.log.has(f.wrote) {
		f.next = 0
		if f.own {
			f.a.logLost(f.log.broker)
		}
		return
	}
	if f.own && f.a.phase == running {
		f.a.afterAway(f.log.broker)
	}
}

// follow reads what is new, sooner or later, and then waits for more.
func (a *agent) follow(f *follower) {
	if f.reading {
		return
	}
	if f.next == len(f.log.bodies) && !f.suspect {
		f.log.waiting = append(f.log.waiting, func() { a.on(func() { a.follow(f) }) })
		return
	}
	f.reading = true
	lag := a.w.mostly(2, 60, a.w.o.slowLogs, 300, 2500)
	if f.hurried {
		lag = a.w.latency()
	}
	a.after(lag, func() {
		f.reading, f.hurried = false, false
		if f.suspect {
			f.verify()
		}
		end := min(len(f.log.bodies), f.next+int(a.w.between(1, 8)))
		closed, news := false, false
		for ; f.next < end; f.next++ {
			f.last = f.log.bodies[f.next]
			for _, r := range f.last.records {
				if f.own {
					closed = a.t.Apply(f.log.broker, r) || closed
				} else {
					a.t.ApplyCopy(r)
					news = news || r.Kind == filter.Baseline && r.Set == ""
				}
			}
		}
		if closed || news {
			a.unsettle()
			a.scan()
		}
		a.unpark()
		a.follow(f)
		a.broadcast()
	})
}

// readTo tells whether the unit's own logs are applied up to the given ends.
func (a *agent) readTo(ends map[string]int64) bool {
	done := true
	for _, f := range a.logs {
		end, asked := ends[f.log.broker]
		if f.own && asked && (f.suspect && f.a.w.mutation != NoLogCheck || int64(f.next) < end) {
			f.hurried, done = true, false
		}
	}
	return done
}

// reach goes on once the unit's own logs are applied up to the given ends. If a broker was away meanwhile, its log may have lost what the
// end was of: then it begins again.
func (a *agent) reach(ends map[string]int64, again, then func()) {
	epoch := a.epoch
	a.await(func() bool { return a.epoch != epoch || a.readTo(ends) }, func() {
		if a.epoch != epoch {
			again()
			return
		}
		then()
	})
}

// readLog goes on once everything that a broker's log held at the time of the call is applied. The end is that of a record written now.
func (a *agent) readLog(broker string, then func()) {
	a.fresh++
	number := a.fresh
	mark := filter.Record{Kind: filter.Ack, Group: group, Client: a.client, Writer: a.writer}
	a.insist(broker, []filter.Record{mark}, func(end int64) {
		ends := map[string]int64{broker: end}
		a.reach(ends, func() { a.readLog(broker, then) }, func() {
			for _, it := range slices.Concat(a.parked, a.ready) {
				if it.arrived < number && it.h.q.local.Broker == broker {
					it.meta.Fresh = true
				}
			}
			then()
		})
	})
}

// write appends records to a broker's log once.
func (a *agent) write(broker string, rs []filter.Record, then func(end int64, err error)) {
	var end int64
	var at *body
	a.call(func() {
		end = a.c.store(broker, rs)
		at = a.c.logs[broker].bodies[end-1]
		a.recorded(rs, at)
	}, func(err error) {
		for _, f := range a.logs {
			if f.own && f.log.broker == broker && err == nil && !f.suspect {
				f.wrote = at
			}
		}
		then(end, err)
	})
}

// insist repeats an append until it succeeds: records may be in the log twice, which changes nothing.
func (a *agent) insist(broker string, rs []filter.Record, then func(end int64)) {
	a.write(broker, rs, func(end int64, err error) {
		if err != nil {
			a.after(50, func() { a.insist(broker, rs, then) })
			return
		}
		then(end)
	})
}

// recorded notes which processed messages the logs know of.
func (a *agent) recorded(rs []filter.Record, at *body) {
	for _, r := range rs {
		if r.Kind != filter.Done || r.Set == "" {
			continue
		}
		for o, p := range a.unpublished {
			if p.key == r.Key() && o.OriginQueue == r.Queue && r.Spans.Contains(o.Offset) {
				delete(a.unpublished, o)
				if _, known := a.w.journal.recorded[p.m]; !known {
					a.w.journal.recorded[p.m] = at
				}
			}
		}
	}
}

func (a *agent) publishLoop() {
	a.after(a.w.between(publishEvery/2, publishEvery*3/2), func() {
		if a.phase != running {
			return
		}
		a.publish(func() {})
		a.publishLoop()
	})
}

// publish writes what was covered since the last time, then commits the offsets that rest on it. One publication at a time; it is
// repeated until everything is written.
func (a *agent) publish(then func()) {
	if a.publishing {
		a.publishers = append(a.publishers, func() { a.publish(then) })
		return
	}
	a.publishing = true
	parts := a.t.Publish()
	var commits []func(then func())
	for _, h := range a.heldSorted() {
		if off := h.committable(); off != h.committed && a.mayCommit(h) {
			commits = append(commits, func(next func()) {
				a.notePosition(h, off, func(noted bool) {
					if !noted || !a.mayCommit(h) {
						next()
						return
					}
					a.commit(h, off, next)
				})
			})
		}
	}
	finish := func(ok bool) {
		a.publishing = false
		if !ok {
			a.after(50, func() { a.publish(then) })
		} else {
			then()
		}
		if !a.publishing && len(a.publishers) > 0 {
			next := a.publishers[0]
			a.publishers = a.publishers[1:]
			next()
		}
	}
	a.writeParts(parts, true, func(ok bool) {
		if !ok {
			finish(false)
			return
		}
		a.inTurn(commits, func() { finish(true) })
	})
}

// mayCommit is false while an offset would rest on what the broker may have lost.
func (a *agent) mayCommit(h *held) bool {
	return h.mayCommit() && (!a.doubts(h.q.local.Broker) || a.w.mutation == CommitInDoubt)
}

// notePosition writes down how far the copies of a retry queue are acknowledged: an offset that is committed beyond has outlived what it rests on.
func (a *agent) notePosition(h *held, off int64, then func(ok bool)) {
	if !h.retry() || !a.mayCommit(h) {
		then(a.mayCommit(h))
		return
	}
	r := filter.Record{Kind: filter.Done, Group: group, Local: h.q.local, Next: off}
	a.write(h.q.local.Broker, []filter.Record{r}, func(_ int64, err error) { then(err == nil) })
}

// writeParts appends one part after the other, in several bodies; parts that fail are given back to the tracker.
func (a *agent) writeParts(parts []filter.LogRecords, ok bool, then func(ok bool)) {
	if len(parts) == 0 {
		then(ok)
		return
	}
	part := parts[0]
	if len(part.Records) == 0 {
		a.writeParts(parts[1:], ok, then)
		return
	}
	n := min(len(part.Records), 8)
	a.write(part.Log, part.Records[:n], func(_ int64, err error) {
		if err != nil {
			a.t.Restore(part)
			a.writeParts(parts[1:], false, then)
			return
		}
		parts[0].Records = part.Records[n:]
		a.writeParts(parts, ok, then)
	})
}

func (a *agent) inTurn(steps []func(func()), then func()) {
	if len(steps) == 0 {
		then()
		return
	}
	steps[0](func() { a.inTurn(steps[1:], then) })
}

func (a *agent) commit(h *held, off int64, then func()) {
	a.call(func() { h.q.commit(off) }, func(err error) {
		if err == nil {
			h.committed = off
		}
		then()
	})
}
