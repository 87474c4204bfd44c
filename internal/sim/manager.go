package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/switchplan"
)

// manager runs switches, several at a time. Each unit's log is folded once and followed from call to call.
type manager struct {
	w     *world
	facts map[*cluster]*filter.Facts
	next  map[*factLog]int
	names int // managers there have been

	returning map[*cluster]*order // units that are being taken back
}

func newManager(w *world) *manager {
	return &manager{w: w, facts: map[*cluster]*filter.Facts{}, next: map[*factLog]int{}, returning: map[*cluster]*order{}}
}

// read folds what a unit's logs and its copies of the others' logs hold now.
func (m *manager) read(c *cluster) *filter.Facts {
	f := m.facts[c]
	if f == nil {
		f = filter.NewFacts()
		m.facts[c] = f
	}
	for _, broker := range c.brokers {
		l := c.logs[broker]
		for ; m.next[l] < len(l.bodies); m.next[l]++ {
			for _, r := range l.bodies[m.next[l]].records {
				f.Apply(broker, r)
			}
		}
	}
	for _, l := range c.copies {
		for ; m.next[l] < len(l.bodies); m.next[l]++ {
			for _, r := range l.bodies[m.next[l]].records {
				f.ApplyCopy(r)
				f.ApplyHandOver(r)
			}
		}
	}
	return f
}

// forget folds a unit's logs anew: one of them has lost its tail.
func (m *manager) forget(c *cluster) {
	delete(m.facts, c)
	for _, l := range c.logs {
		delete(m.next, l)
	}
	for _, l := range c.copies {
		delete(m.next, l)
	}
}

// begin plans a switch of random routes and fences them.
func (m *manager) begin() {
	if m.w.store.down {
		return
	}
	from := pick(m.w.loop, m.w.clusters)
	to := pick(m.w.loop, m.w.clusters)
	if from == to {
		return
	}
	id := fmt.Sprintf("%02d", m.w.counts.Switches)
	req := msha.SwitchRequest{To: to.unit, Deadline: time.Duration(m.w.mostly(1500, 6000, 0.2, 100, 800)) * time.Millisecond}
	if m.w.chance(0.2) {
		req.From = from.unit
	} else {
		req.Values = m.w.someValuesOf(from.unit)
	}
	table := m.w.store.table
	if m.w.chance(0.15) { // somebody looked, and then thought about it
		table = m.w.staleTable()
	}
	planner := &switchplan.Planner{NewID: func() string { return id }}
	plan, err := planner.Plan(context.Background(), req, msha.View{Table: table, Units: m.w.units})
	if err != nil {
		return // nothing to move, or a switch of it is under way
	}
	plan.Moves = slices.DeleteFunc(plan.Moves, func(x msha.Move) bool { return x.From != from.unit })
	if len(plan.Moves) == 0 {
		return
	}
	m.w.counts.Switches++
	o := &order{m: m, plan: plan, from: from, to: to, absent: map[string]int64{}, members: map[string]msha.RosterMember{}}
	if m.w.chance(0.25) {
		o.doomed = pick(m.w.loop, []string{"drain", "confirm", "hand over", "commit", reopened})
	}
	o.submit(o.checkGates)
}

// active counts the orders that have not ended.
func (m *manager) active() (n int) {
	for _, s := range m.w.store.orders {
		if s.phase != phaseEnded {
			n++
		}
	}
	for _, s := range m.w.store.table.Sets {
		if s.State == msha.SetFenced {
			n++
		}
	}
	return n
}
