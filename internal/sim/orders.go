package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/route"
)

// resumeAfter is how long nobody works on an order before another manager takes it over.
const resumeAfter = 800

// errTaken says that another manager has taken the order over.
var errTaken = errors.New("another manager has the order")

// The phases of an order, as the metastore has them.
const (
	phaseFence    = "fence"
	phaseDrain    = "drain"
	phaseConfirm  = "confirm"
	phaseHandOver = "hand over"
	phaseCommit   = "commit"
	phaseEnded    = ""
)

// storedOrder is what the metastore has of an order: who works on it, and the phase that is next.
type storedOrder struct {
	plan     *msha.Plan
	from, to *cluster
	phase    string
	hashes   map[string]string
	by       string
	beat     int
}

func (o *order) after(d int64, f func()) { o.m.w.after(d, func() { o.on(f) }) }

func (o *order) edit(f func(*msha.Table) (*msha.Table, error), then func(*msha.Table, error)) {
	o.m.w.store.edit(f, func(t *msha.Table, err error) { o.on(func() { then(t, err) }) })
}

// submit writes the order, and draws what happens to its manager.
func (o *order) submit(then func()) {
	w := o.m.w
	o.m.names++
	o.by = fmt.Sprintf("m%02d", o.m.names)
	w.store.orders[o.plan.ID] = &storedOrder{plan: o.plan, from: o.from, to: o.to, phase: phaseFence, by: o.by}
	o.beats()
	if w.o.managers && w.chance(0.5) {
		w.after(w.mostly(1, 30, 0.7, 30, 1500), o.fall)
	}
	then()
}

// fall kills the manager of an order, or freezes it for long.
func (o *order) fall() {
	w := o.m.w
	if o.dead || w.store.orders[o.plan.ID].by != o.by {
		return
	}
	w.counts.ManagersLost++
	if w.chance(0.5) {
		o.trace("manager killed", o.by)
		o.dead = true
		return
	}
	o.trace("manager frozen", o.by)
	o.frozen = true
	w.after(w.between(300, 5000), func() {
		o.trace("manager thawed", o.by)
		o.thaw()
	})
}

// beats shows others that this manager works on the order.
func (o *order) beats() {
	o.after(resumeAfter/4, func() {
		o.save(func(*storedOrder) {}, func(err error) {
			if s := o.m.w.store.orders[o.plan.ID]; err != errTaken && s.phase != phaseEnded { //nolint:errorlint // it is never wrapped
				o.beats()
			}
		})
	})
}

// save changes the order unless another manager has taken it over: then this one has nothing more to do with it.
func (o *order) save(change func(*storedOrder), then func(error)) {
	o.m.w.store.do(func() error {
		s := o.m.w.store.orders[o.plan.ID]
		if s.by != o.by && o.m.w.mutation != NoManagerFence {
			return errTaken
		}
		change(s)
		s.beat++
		return nil
	}, func(err error) {
		o.on(func() {
			if errors.Is(err, errTaken) {
				o.trace("left to another manager", o.by)
				o.dead = true
				return
			}
			then(err)
		})
	})
}

// next records that a phase has ended, and goes on with the one that follows if the routes are still fenced.
func (o *order) next(phase string, then func()) {
	fenced := false
	o.save(func(s *storedOrder) {
		s.phase, s.hashes = phase, o.hashes
		fenced, _ = o.located(o.m.w.store.table)
	}, func(err error) {
		if err != nil || !fenced {
			o.abort()
			return
		}
		then()
	})
}

// ended records the end of an order, however long that takes.
func (o *order) ended() {
	o.save(func(s *storedOrder) { s.phase = phaseEnded }, func(err error) {
		if err != nil {
			o.after(200, o.ended)
		}
	})
}

// located is where the routes of a plan are.
func (o *order) located(t *msha.Table) (fenced, committed bool) {
	for _, x := range o.plan.Moves {
		s, ok := t.Sets[x.NewSet]
		if ok && s.Term > x.Term {
			return false, true
		}
		if !ok || s.State != msha.SetFenced || s.Switch != o.plan.ID {
			return false, false
		}
	}
	return true, false
}

// current tells whether what a manager does still counts: its order is its own, and the routes are fenced.
func (o *order) current() bool {
	fenced, _ := o.located(o.m.w.store.table)
	return fenced && o.m.w.store.orders[o.plan.ID].by == o.by
}

// resumes looks after orders that nobody works on, and after fences whose order has ended.
func (m *manager) resumes() {
	seen, since, orphans := map[string]int{}, map[string]int64{}, map[string]int64{}
	var look func()
	look = func() {
		m.w.after(100, look)
		if m.w.store.down {
			return
		}
		for _, id := range slices.Sorted(maps.Keys(m.w.store.orders)) {
			s := m.w.store.orders[id]
			switch {
			case s.phase == phaseEnded:
			case seen[id] != s.beat || since[id] == 0:
				seen[id], since[id] = s.beat, m.w.now
			case m.w.now-since[id] >= resumeAfter:
				since[id] = m.w.now
				m.resume(s, s.beat)
			}
		}
		m.reopenOrphans(orphans)
	}
	look()
}

// reopenOrphans reopens fences that nobody will lift, once their deadline has passed since they were first seen.
func (m *manager) reopenOrphans(since map[string]int64) {
	now := map[string]int64{}
	for _, s := range m.w.store.table.Sets {
		order := m.w.store.orders[s.Switch]
		if s.State == msha.SetFenced && (order == nil || order.phase == phaseEnded) {
			now[s.Switch] = max(now[s.Switch], s.Deadline.Milliseconds())
		}
	}
	for id := range since {
		if _, still := now[id]; !still {
			delete(since, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(now)) {
		if since[id] == 0 {
			since[id] = m.w.now
		} else if m.w.now-since[id] >= now[id] && m.w.mutation != OrphanStays {
			delete(since, id)
			m.w.counts.Orphans++
			m.w.store.edit(func(t *msha.Table) (*msha.Table, error) { return route.Reopen(t, id) }, func(*msha.Table, error) {})
		}
	}
}

// resume takes an order over if it is still as it was.
func (m *manager) resume(s *storedOrder, beat int) {
	m.names++
	o := &order{m: m, plan: s.plan, from: s.from, to: s.to, absent: map[string]int64{}, members: map[string]msha.RosterMember{}, by: fmt.Sprintf("m%02d", m.names)}
	m.w.store.do(func() error {
		if s.beat != beat || s.phase == phaseEnded {
			return errTaken
		}
		s.by = o.by
		s.beat++
		return nil
	}, func(err error) {
		if err != nil {
			return
		}
		m.w.counts.Resumptions++
		o.trace("resumed", o.by+" "+s.phase)
		o.hashes = s.hashes
		o.beats()
		if m.w.chance(0.2) {
			m.w.after(m.w.between(1, 400), o.fall)
		}
		o.goOn(s.phase)
	})
}

// goOn continues an order from a phase on. Nobody knows how far that one came.
func (o *order) goOn(phase string) {
	w := o.m.w
	if o.m.w.mutation == SkipsPhase && phase == phaseDrain {
		phase = phaseHandOver
	}
	o.deadline = w.now + o.plan.Deadline.Milliseconds()
	o.after(w.latency(), func() {
		fenced, committed := o.located(w.store.table)
		switch {
		case w.store.down:
			o.after(200, func() { o.goOn(phase) })
			return
		case committed:
			o.finish()
			return
		case fenced:
			o.table = w.store.table
		case phase == phaseFence:
			o.checkGates()
			return
		default:
			o.abort()
			return
		}
		switch phase {
		case phaseFence:
			o.next(phaseDrain, o.begunPause)
		case phaseDrain:
			o.begunPause()
		case phaseConfirm:
			o.confirm()
		case phaseHandOver:
			o.handOverAgain()
		case phaseCommit:
			o.commit(o.hashes)
		}
	})
}
