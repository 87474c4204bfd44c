package switchplan

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// sighting is what one look at a losing unit shows.
type sighting struct {
	unit      string
	groups    []string            // managed ones
	members   []msha.RosterMember // of the roster, in this unit
	acks      map[string]uint64
	strangers []stranger // listed, in no roster, no acknowledgement
	allowed   []stranger // the same, of groups that the request allows
}

// stranger is a client that takes part in a managed group and may not know the routes.
type stranger struct{ client, group string }

func (s stranger) String() string { return s.client + " in group " + s.group }

// passedBy names, for the records, who does not know the routes and is let pass.
func (s *sighting) passedBy() (hits []GuardHit) {
	for _, x := range s.allowed {
		hits = append(hits, GuardHit{
			Guard: allowUnmanaged + x.group, Where: "unit " + s.unit, What: x.client + " takes part and does not know the routes",
			Hint: "stop it, or let it use package agent", Overridden: true,
		})
	}
	return hits
}

// connectionsAge is how old the connections may be that drain looks at: they only tell who is gone.
const connectionsAge = 100 * time.Millisecond

// listing is what the brokers of a unit said of who is connected.
type listing struct {
	at      time.Time           // when they were asked
	until   time.Time           // when they had answered
	clients map[string][]string // by group
}

// serves says whether a listing may be looked at instead of a new one.
func (l listing) serves(groups []string, maxAge time.Duration) bool {
	unknown := func(group string) bool { _, ok := l.clients[group]; return !ok }
	return now().Sub(l.at) < maxAge && !slices.ContainsFunc(groups, unknown)
}

// look reads in this order: connections, roster, acknowledgements. A process enters the roster before it connects, and it was
// connected when it acknowledged; so nobody who takes part can be overlooked, if the connections are not older than the look.
func (r *run) look(ctx context.Context, unit string, maxAge time.Duration) (s *sighting, err error) {
	defer func() {
		if r.looked = err == nil; err != nil {
			clear(r.absent) // who cannot be looked for is not known to be gone
		}
	}()
	units, err := r.o.Registry.Units(ctx)
	if err != nil {
		return nil, err
	}
	roster, err := r.o.Registry.Roster(ctx)
	if err != nil {
		return nil, err
	}
	if _, ok := units.Find(unit); !ok {
		return nil, msha.Errorf("switch.check", unit, "known units: "+strings.Join(units.Names(), ", "), "unit %w", msha.ErrNotFound)
	}
	groups := managed(units, roster, unit)
	if !r.listed[unit].serves(groups, maxAge) {
		l := listing{at: now()}
		if l.clients, err = r.o.Cluster.Clients(ctx, unit, groups); err != nil {
			return nil, err
		}
		l.until = now()
		r.watched(unit, l.until)
		r.listed[unit], r.lastLook = l, l.until
		if roster, err = r.o.Registry.Roster(ctx); err != nil {
			return nil, err
		}
	}
	listed := r.listed[unit].clients
	acks, err := r.o.Cluster.Acks(ctx, unit)
	if err != nil {
		return nil, err
	}
	s = &sighting{unit: unit, groups: groups, members: membersOf(roster, unit), acks: acks}
	known := map[string]bool{}
	r.acked[unit] = nil
	for _, m := range s.members {
		known[m.ClientID] = true
		if acks[m.ClientID] >= r.order.Version {
			r.acked[unit] = append(r.acked[unit], m.ClientID)
		}
		r.observe(m, groups, listed)
	}
	for _, group := range groups {
		for _, id := range listed[group] {
			switch {
			case known[id] || r.order.Version > 0 && acks[id] >= r.order.Version:
			case slices.Contains(r.order.Plan.Request.AllowUnmanaged, group):
				s.allowed = append(s.allowed, stranger{id, group})
			default:
				s.strangers = append(s.strangers, stranger{id, group})
			}
		}
	}
	return s, nil
}

// forgotten are processes whose acknowledgements were seen, and are not in the log from which something was computed:
//
//	confirm sees that all have acknowledged → the broker comes back without the tail of its log, which held facts and acknowledgements → by what
//	is left, messages remain that are processed
//
// A process that is alive notices too, and writes both again, the acknowledgement last.
func (r *run) forgotten(unit string, by *Remaining) []string {
	return slices.DeleteFunc(slices.Clone(r.acked[unit]), func(client string) bool { return by.Acks[client] >= r.order.Version })
}

// lookGap is the longest time between two looks in which a process cannot come and go unseen.
const lookGap = 5 * time.Second

// watched is asked whether somebody has looked all the time: not if this process stood still.
func (r *run) watched(unit string, until time.Time) {
	if last, ok := r.listed[unit]; ok && until.Sub(last.until) > lookGap {
		r.unseen()
	}
}

// unseen forgets since when processes are absent, because time passed in which nobody looked:
//
//	no broker lists a process → its gate reopens by the log alone, without a new session → it is cut off again → a look: no broker lists it, as an
//	hour ago, but its gate is open for G
//
// Who was gone for G when the logs were marked stays gone: the mark keeps its gate closed.
func (r *run) unseen() {
	for s, since := range r.absent {
		if r.marked == 0 || r.marked < r.order.Version || r.lastLook.Sub(since) < r.o.GateWindow {
			delete(r.absent, s)
		}
	}
}

// observe keeps since when no broker lists a member.
func (r *run) observe(m msha.RosterMember, groups []string, listed map[string][]string) {
	if connected(m, groups, listed) {
		delete(r.absent, sessionOf(m))
		return
	}
	if _, ok := r.absent[sessionOf(m)]; !ok {
		r.absent[sessionOf(m)] = now()
	}
}

// connected says whether a broker lists a member in one of its groups.
func connected(m msha.RosterMember, groups []string, listed map[string][]string) bool {
	if len(m.Groups) > 0 {
		groups = m.Groups
	}
	return slices.ContainsFunc(groups, func(group string) bool { return slices.Contains(listed[group], m.ClientID) })
}

// session is one stay of a process in the roster.
type session struct{ client, id string }

func sessionOf(m msha.RosterMember) session { return session{m.ClientID, m.Session} }

// gone says whether a member's gate must have lapsed.
func (r *run) gone(m msha.RosterMember) bool {
	since, ok := r.absent[sessionOf(m)]
	return ok && now().Sub(since) >= r.o.GateWindow
}
