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

// connectionsAge is how old the connections may be that drain looks at: they only tell who is gone.
const connectionsAge = 100 * time.Millisecond

// listing is what the brokers of a unit said of who is connected.
type listing struct {
	at      time.Time
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
		r.listed[unit] = l
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
	for _, m := range s.members {
		known[m.ClientID] = true
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
