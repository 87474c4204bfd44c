package sim

import (
	"errors"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/route"
)

// handOver writes what remains to every log of both units, in bodies of a few records.
func (o *order) handOver() {
	w := o.m.w
	if o.from.cut {
		o.abort()
		return
	}
	facts := o.m.read(o.from)
	if w.mutation == HandOverIgnoresDone {
		facts = o.withoutDone()
	}
	h, err := filter.RemainingAfter(facts, o.table, o.plan.Moves, []string{group})
	if errors.Is(err, msha.ErrMissingFacts) && w.now < 5000 { // the group has not started in this unit yet
		o.abort()
		return
	}
	if err != nil {
		w.fail("switch %s: %w", o.plan.ID, err)
		return
	}
	if o.doomed == reopened {
		w.after(w.between(0, 60), func() {
			w.store.edit(func(t *msha.Table) (*msha.Table, error) { return route.Reopen(t, o.plan.ID) }, func(*msha.Table, error) {})
		})
	}
	for _, m := range o.plan.Moves {
		if o.current() {
			w.journal.handedOver(o.table, m.NewSet, h, nothing)
		}
	}
	o.write(h, []*cluster{o.to, o.from})
}

// write appends a hand-over to the logs of some units, as far as a doomed switch comes, and goes on before the deadline.
func (o *order) write(h *filter.HandOver, units []*cluster) {
	w := o.m.w
	writes := w.appends(h.Records, units, func() bool { return w.now >= o.deadline })
	if o.doomed == "hand over" || w.mutation == HalfHandOver {
		writes = writes[:len(writes)/4]
	}
	inTurn(o.guarded(writes), func() {
		if o.doomed == "hand over" || o.doomed == "commit" || w.now >= o.deadline {
			o.abort()
			return
		}
		o.hashes = h.Hashes
		o.next(phaseCommit, func() { o.commit(h.Hashes) })
	})
}

// guarded are writes that end with the manager.
func (o *order) guarded(writes []func(func())) []func(func()) {
	var out []func(func())
	for _, write := range writes {
		out = append(out, func(then func()) { write(func() { o.on(then) }) })
	}
	return out
}

// appends are the writes of records to every log of some units, in bodies of a few records. A unit that is cut off is tried until it is too
// late.
func (w *world) appends(records []filter.Record, units []*cluster, late func() bool) (writes []func(func())) {
	for _, c := range units {
		for _, broker := range c.brokers {
			for rs := records; len(rs) > 0; {
				n := min(len(rs), int(w.between(1, 4)))
				part := rs[:n]
				rs = rs[n:]
				var write func(then func())
				write = func(then func()) {
					w.after(w.latency(), func() {
						if !c.cut {
							c.store(broker, part)
							w.after(w.latency(), then)
						} else if late() {
							then()
						} else {
							w.after(100, func() { write(then) })
						}
					})
				}
				writes = append(writes, write)
			}
		}
	}
	return writes
}

func inTurn(steps []func(func()), then func()) {
	if len(steps) == 0 {
		then()
		return
	}
	steps[0](func() { inTurn(steps[1:], then) })
}

// withoutDone is what a unit would have recorded had it processed nothing.
func (o *order) withoutDone() *filter.Facts {
	f := filter.NewFacts()
	for _, broker := range o.from.brokers {
		for _, b := range o.from.logs[broker].bodies {
			for _, r := range b.records {
				if r.Kind != filter.Done {
					f.Apply(broker, r)
				}
			}
		}
	}
	for _, l := range o.from.copies {
		for _, b := range l.bodies {
			for _, r := range b.records {
				f.ApplyCopy(r)
			}
		}
	}
	return f
}

// commit is the point of no return.
func (o *order) commit(hashes map[string]string) {
	w := o.m.w
	o.edit(func(t *msha.Table) (*msha.Table, error) {
		if _, committed := o.located(t); committed {
			return t, nil
		}
		out, err := route.Commit(t, o.plan, hashes)
		if err == nil && o.plan.Request.Forced {
			w.journal.forced(o)
		}
		return out, err
	}, func(_ *msha.Table, err error) {
		if err != nil {
			o.abort()
			return
		}
		o.finish()
	})
}

// finish ends an order whose routes have moved.
func (o *order) finish() {
	o.trace("committed", "")
	o.m.w.counts.TakeOvers++
	o.ended()
}

// abort reopens the routes under the same term, however long that takes.
func (o *order) abort() {
	w := o.m.w
	done := false // the commit came through, although its answer did not
	o.edit(func(t *msha.Table) (*msha.Table, error) {
		fenced, committed := o.located(t)
		if done = committed; !fenced {
			return t, nil
		}
		return route.Reopen(t, o.plan.ID)
	}, func(_ *msha.Table, err error) {
		switch {
		case err != nil:
			o.after(200, o.abort)
			return
		case done:
			o.finish()
			return
		}
		o.trace("aborted", "")
		for _, m := range o.plan.Moves {
			if w.journal.givenUp[m.NewSet] == o.from && o.plan.Request.Forced {
				delete(w.journal.givenUp, m.NewSet)
			}
		}
		if o.acked {
			w.counts.AbortsAfterAck++
		}
		o.ended()
	})
}
