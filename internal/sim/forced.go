package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/switchplan"
)

// disaster takes a unit away for a while: all of it, its processes only, or its ways to the others. Meanwhile somebody moves its routes by force.
func (w *world) disaster() {
	c := pick(w.loop, w.clusters)
	if c.cut || c.dark || w.away+1 >= w.o.units {
		return
	}
	w.counts.Disasters++
	w.away++
	kind := w.rng.IntN(3)
	c.cut, c.dark = kind != 0, kind != 1
	w.trace(c.unit, "lost", msha.Origin{}, []string{"processes", "isolated", "site"}[kind])
	if c.dark {
		for _, a := range c.agents {
			if a.alive() {
				a.kill()
			}
		}
	}
	for range 1 + w.rng.IntN(4) {
		w.after(w.between(200, 5000), func() { w.manager.force(c) })
	}
	if w.chance(0.5) {
		w.after(w.between(1000, 6000), w.manager.begin)
	}
	w.after(w.mostly(3000, 9000, 0.2, 300, 1500), func() { w.back(c) })
}

// back ends a disaster. What the unit's brokers had stored is there; their locks are not.
func (w *world) back(c *cluster) {
	w.trace(c.unit, "back", msha.Origin{}, "")
	w.away--
	dark := c.dark
	c.cut, c.dark = false, false
	for _, a := range c.agents {
		w.store.deliver(a)
	}
	w.store.tell(c.unit)
	if !dark {
		return
	}
	for _, q := range c.queues {
		q.holder = ""
	}
	for range w.o.agents {
		w.after(w.between(100, 3000), func() {
			if !c.dark {
				w.spawn(c, "")
			}
		})
	}
}

// force moves routes away from a unit without asking it.
func (m *manager) force(from *cluster) {
	live := slices.DeleteFunc(slices.Clone(m.w.clusters), func(c *cluster) bool { return c == from || c.cut || c.dark })
	if m.w.store.down || len(live) == 0 {
		return
	}
	to := pick(m.w.loop, live)
	id := fmt.Sprintf("%02d", m.w.counts.Switches)
	req := msha.SwitchRequest{To: to.unit, Forced: true, Deadline: 6 * time.Second}
	if m.w.chance(0.5) {
		req.From = from.unit
	} else {
		req.Values = m.w.someValuesOf(from.unit)
	}
	planner := &switchplan.Planner{NewID: func() string { return id }}
	plan, err := planner.Plan(context.Background(), req, msha.View{Table: m.w.store.table, Units: m.w.units})
	if err != nil {
		return // nothing to move, or a switch of it is under way
	}
	m.w.counts.Switches++
	o := &order{m: m, plan: plan, from: from, to: to, absent: map[string]int64{}, members: map[string]msha.RosterMember{}}
	if m.w.chance(0.2) {
		o.doomed = pick(m.w.loop, []string{"hand over", "commit"})
	}
	o.submit(o.fence)
}

// takeAway follows the fence of a forced switch. In Strict mode every start in the losing unit has been under a table that was confirmed
// within G, so after G nothing starts there.
func (o *order) takeAway() {
	w := o.m.w
	wait := int64(0)
	if w.o.strict && w.mutation != NoStrictWait {
		wait = gateWindow
	}
	o.after(wait, func() { o.next(phaseHandOver, o.handOverForced) })
	if w.o.strict {
		w.counts.StrictForced++
	}
}

// handOverForced computes what remains from what the gaining unit has.
func (o *order) handOverForced() {
	w := o.m.w
	lost := filter.NewFacts()
	for _, l := range o.to.logs {
		for _, b := range l.bodies {
			for _, r := range b.records {
				lost.ApplyCopy(r)
				lost.ApplyHandOver(r)
			}
		}
	}
	seen := map[*body]bool{} // of the losing unit's logs: what is copied
	for _, l := range o.to.copies {
		for _, b := range l.bodies {
			seen[b.of] = true
			for _, r := range b.records {
				if l.unit == o.from.unit {
					lost.Apply(l.broker, r)
				} else {
					lost.ApplyCopy(r)
				}
				lost.ApplyHandOver(r)
			}
		}
	}
	mine := o.m.read(o.to)
	copied := filter.Copied{Unit: o.from.unit, Ends: map[msha.OriginQueue]int64{}, Pulled: func(group string, q msha.OriginQueue) int64 { return mine.Group(group).Next(q) }}
	for _, q := range o.from.home() {
		tail := msha.Origin{OriginQueue: q.origin, Offset: -1}
		for _, m := range o.to.replicaOf(q.origin).items {
			tail = m.id
		}
		for older := q.origin; older.Incarnation < tail.Incarnation; older.Incarnation++ {
			copied.Ends[older] = filter.End
		}
		copied.Ends[tail.OriginQueue] = tail.Offset + 1
	}
	ends := maps.Clone(copied.Ends)
	if w.mutation == NothingHeldBack {
		for _, q := range o.from.home() {
			copied.Ends[q.origin] = filter.End
		}
	}
	h, err := filter.RemainingForced(lost, o.table, o.plan.Moves, []string{group}, copied)
	switch {
	case errors.Is(err, msha.ErrMissingFacts) && w.now < o.deadline:
		o.after(200, o.handOverForced)
		return
	case err != nil:
		o.abort()
		return
	}
	held := func(m *message) bool {
		id := w.identity(m)
		return m.unit == o.from.unit && id.Offset >= ends[id.OriginQueue]
	}
	if o.current() {
		w.journal.unreplicated(o, h, seen, held)
		for _, m := range o.plan.Moves {
			w.journal.handedOver(o.table, m.NewSet, h, held)
		}
	}
	o.write(h, []*cluster{o.to})
}
