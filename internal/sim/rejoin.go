package sim

import (
	"errors"
	"maps"
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/route"
)

// missing are the units that lost routes by force and have not rejoined.
func (w *world) missing() (out []*cluster) {
	for _, c := range w.clusters {
		if w.store.table.Away(c.unit) {
			out = append(out, c)
		}
	}
	return out
}

// rejoins looks after units that lost routes by force, until each is back.
func (m *manager) rejoins() {
	m.w.after(300, func() {
		for _, c := range m.w.missing() {
			if m.returning[c] == nil && !c.cut && !m.w.store.down {
				m.returning[c] = &order{m: m, plan: &msha.Plan{ID: "rejoin-" + c.unit}, from: c, table: m.w.store.table, absent: map[string]int64{}, members: map[string]msha.RosterMember{}}
				m.await(m.returning[c])
			}
		}
		m.rejoins()
	})
}

// await waits until every process of the unit has acknowledged a table that holds the forced moves, or is gone.
func (m *manager) await(o *order) {
	o.look(func(waiting []string, _ map[string]uint64) {
		if left := o.unconfirmed(waiting); len(left) > 0 && m.w.mutation != RejoinUnasked {
			m.w.after(100, func() { m.await(o) })
			return
		}
		if o.from.cut {
			delete(m.returning, o.from)
			return
		}
		m.rejoin(o)
	})
}

// rejoin gives out what had been held back, less what the unit had processed.
func (m *manager) rejoin(o *order) {
	unit, table := o.from.unit, m.w.store.table
	byOwner := map[string][]string{}
	for _, id := range slices.Sorted(maps.Keys(table.Sets)) {
		s := table.Sets[id]
		if _, forced := s.ForcedFrom(unit); !forced {
			continue
		}
		if s.State != msha.SetOpen {
			delete(m.returning, o.from) // look again later
			return
		}
		byOwner[s.Owner] = append(byOwner[s.Owner], id)
	}
	lost := m.read(o.from)
	hashes := map[string]string{}
	var writes []func(func())
	late := func() bool { return m.w.store.table != table }
	for _, name := range slices.Sorted(maps.Keys(byOwner)) {
		owner := m.w.clusterOf(name)
		if owner.cut {
			delete(m.returning, o.from)
			return
		}
		done := lost
		if m.w.mutation == RejoinIgnoresDone {
			done = o.withoutDone()
		}
		h, err := filter.RemainingRejoined(m.read(owner), []*filter.Facts{done}, table, byOwner[name], unit)
		if errors.Is(err, msha.ErrMissingFacts) {
			delete(m.returning, o.from) // a copy may be under way
			return
		}
		if err != nil {
			m.w.fail("rejoin of %s: %w", unit, err)
			return
		}
		for _, id := range byOwner[name] {
			m.w.journal.rejoined(table, id, unit, h)
		}
		maps.Copy(hashes, h.Hashes)
		writes = append(writes, m.w.appends(h.Records, []*cluster{owner, o.from}, late)...)
	}
	if m.w.chance(0.2) { // this manager ends in the middle of it
		writes = writes[:len(writes)/2]
		hashes = nil
	}
	inTurn(writes, func() {
		m.w.store.edit(func(t *msha.Table) (*msha.Table, error) {
			if late() || hashes == nil {
				return nil, msha.ErrConflict
			}
			return route.Rejoin(t, table, unit, hashes)
		}, func(_ *msha.Table, err error) {
			delete(m.returning, o.from)
			if err == nil {
				m.w.counts.Rejoins++
				o.trace("rejoined", "")
			}
		})
	})
}
