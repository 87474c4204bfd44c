package sim

import (
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/route"
)

// order is one switch.
type order struct {
	m        *manager
	plan     *msha.Plan
	table    *msha.Table // holds the fence
	deadline int64
	from     *cluster
	to       *cluster
	absent   map[string]int64             // roster members not listed, since when
	members  map[string]msha.RosterMember // as last seen
	ignored  string                       // DropOneAck: who is not waited for
	doomed   string                       // the phase this switch will be aborted in, or reopened
	acked    bool

	by     string            // its manager
	life                     // of that
	hashes map[string]string // of what was handed over
}

// reopened says that somebody else reopens the routes while the manager hands them over, as anyone may after the deadline.
const reopened = "reopened"

// nobody is waited for where it cannot be seen who would have to be.
const nobody = "nobody answers"

// checkGates waits, before the pause begins, for the gates of dead members to lapse.
func (o *order) checkGates() {
	o.look(func(waiting []string, _ map[string]uint64) {
		for _, client := range waiting {
			if since, absent := o.absent[client]; absent && o.m.w.now-since < gateWindow {
				o.after(50, o.checkGates)
				return
			}
		}
		o.fence()
	})
}

func (o *order) fence() {
	w := o.m.w
	for _, x := range o.plan.Moves {
		if !x.Whole {
			w.counts.Splits++
		}
	}
	o.edit(func(t *msha.Table) (*msha.Table, error) {
		switch fenced, committed := o.located(t); {
		case fenced:
			return t, nil
		case committed || !o.fits(t):
			return nil, msha.ErrConflict
		}
		return route.Fence(t, o.plan)
	}, func(t *msha.Table, err error) {
		if err != nil {
			o.abort()
			return
		}
		o.table, o.deadline = t, w.now+o.plan.Deadline.Milliseconds()
		o.trace("fenced", "")
		o.next(phaseDrain, o.begunPause)
	})
}

// begunPause goes on once the routes are fenced.
func (o *order) begunPause() {
	if o.plan.Request.Forced {
		o.takeAway()
		return
	}
	o.drain()
}

func (o *order) handOverAgain() {
	if o.plan.Request.Forced {
		o.handOverForced()
		return
	}
	o.handOver()
}

// fits refuses a plan that was made from a table that has changed since: its sets have other owners or terms. That its values are still
// in them is checked by route.Fence.
func (o *order) fits(t *msha.Table) bool {
	for _, x := range o.plan.Moves {
		if s, ok := t.Sets[x.Set]; !ok || s.Owner != x.From || s.Term != x.Term {
			return false
		}
	}
	return true
}

func (o *order) trace(what, detail string) {
	o.m.w.trace("switch-"+o.plan.ID, what, msha.Origin{}, detail)
}

// look reads the losing unit in this order: consumer list, roster, acknowledgements. It gives those who have not acknowledged.
func (o *order) look(then func(waiting []string, acks map[string]uint64)) {
	w := o.m.w
	o.after(w.latency(), func() {
		listed := o.from.listed()
		w.store.do(func() error { return nil }, func(err error) {
			o.on(func() {
				if err != nil || o.from.cut {
					clear(o.absent)
					then([]string{nobody}, nil)
					return
				}
				roster := w.store.roster
				acks := o.m.read(o.from).Acked(o.from.brokers)
				var waiting []string
				for _, member := range roster.Members {
					if member.Unit != o.from.unit {
						continue
					}
					id := member.ClientID
					if slices.Contains(listed, id) || member.Session != o.members[id].Session {
						delete(o.absent, id)
					} else if _, known := o.absent[id]; !known {
						o.absent[id] = w.now
					}
					o.members[id] = member
					if o.table == nil || acks[id] < o.table.Version {
						waiting = append(waiting, id)
					}
				}
				then(waiting, acks)
			})
		})
	})
}

// unconfirmed leaves out those who are gone for longer than their gate stays open.
func (o *order) unconfirmed(waiting []string) []string {
	return slices.DeleteFunc(slices.Clone(waiting), func(id string) bool {
		since, absent := o.absent[id]
		return absent && o.m.w.now-since >= gateWindow || id == o.ignored && id != ""
	})
}

// drain waits until the losing unit's agents have acknowledged the fence; confirm looks once more.
func (o *order) drain() {
	w := o.m.w
	o.look(func(waiting []string, _ map[string]uint64) {
		if w.mutation == DropOneAck && o.ignored == "" && len(waiting) > 0 {
			o.ignored = waiting[0]
		}
		switch left := o.unconfirmed(waiting); {
		case w.now >= o.deadline:
			w.counts.Deadlines++
			o.abort()
		case o.doomed == "drain":
			o.abort()
		case len(left) > 0:
			o.after(w.between(20, 80), o.drain)
		default:
			o.acked = true
			o.next(phaseConfirm, o.confirm)
		}
	})
}

func (o *order) confirm() {
	o.look(func(waiting []string, _ map[string]uint64) {
		switch left := o.unconfirmed(waiting); {
		case o.doomed == "confirm" || o.m.w.now >= o.deadline:
			o.abort()
		case len(left) > 0:
			o.after(o.m.w.between(20, 80), o.confirm)
		default:
			for _, id := range waiting { // gone: nobody has to wait for them again
				if id != nobody {
					o.from.passOver(id)
					o.m.w.store.roster = o.m.w.store.roster.Prune([]msha.RosterMember{o.members[id]})
				}
			}
			o.next(phaseHandOver, o.handOver)
		}
	})
}
