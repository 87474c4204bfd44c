package switchplan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// strangerLooks is how often in a row an unknown client must be listed: one that just left may be listed for a moment.
const strangerLooks = 3

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

// look reads in this order: connections, roster, acknowledgements. A process enters the roster before it connects, and it was
// connected when it acknowledged; so nobody who takes part can be overlooked.
func (r *run) look(ctx context.Context, unit string) (s *sighting, err error) {
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
	listed, err := r.clients(ctx, unit, groups)
	if err != nil {
		return nil, err
	}
	if roster, err = r.o.Registry.Roster(ctx); err != nil {
		return nil, err
	}
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

// check validates everything that can be before the pause begins, and waits here for dead members' gates to lapse.
func (r *run) check(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.o.GateWindow+r.order.Plan.Deadline, errDeadline)
	defer cancel()
	t, err := r.o.Tables.Current(ctx)
	if err != nil {
		return "", err
	}
	plan := &r.order.Plan
	if err := checkMoves(t, plan); err != nil {
		return "", err
	}
	units, err := r.o.Registry.Units(ctx)
	if err != nil {
		return "", err
	}
	if err := checkUnits(plan, units, t); err != nil {
		return "", err
	}
	if plan.Request.Forced {
		return "forced: nobody in " + list(losers(plan)) + " is asked", nil
	}
	note := ""
	if plan.Request.Replay != nil { // whether it can be done at all is better known before the fence
		n, err := r.again(ctx, plan, t)
		if err != nil {
			return "", err
		}
		note = fmt.Sprintf("at most %d messages once more", n)
	}
	return note, r.until(ctx, Check, func(s *sighting) (waiting []string) {
		for _, m := range s.members {
			if _, absent := r.absent[sessionOf(m)]; absent && !r.gone(m) {
				waiting = append(waiting, m.ClientID+" is not connected; its gate closes within "+r.o.GateWindow.String())
			}
		}
		return waiting
	})
}

// checkUnits refuses units that must not gain routes. No override helps: nobody would process there, or not exactly.
func checkUnits(plan *msha.Plan, units *msha.Units, t *msha.Table) error {
	for _, m := range plan.Moves {
		if to, ok := units.Find(m.To); !ok || to.State == Quarantined {
			return msha.Errorf("switch.check", m.To, "units: "+strings.Join(units.Names(), ", "), "%w: the gaining unit is unknown or quarantined", msha.ErrInvalid)
		}
		if t.Away(m.To) {
			return msha.Errorf("switch.check", m.To, "wait until it has rejoined", "%w: the gaining unit lost routes by a forced switch and has not rejoined", msha.ErrInvalid)
		}
	}
	return nil
}

// drain waits until the old owner's agents acknowledged the fence.
func (r *run) drain(ctx context.Context) error {
	return r.until(ctx, Drain, r.unconfirmed)
}

// confirm looks once more at everybody, then takes the dead out of the roster. The mark comes first: a process that joins again after a
// long absence is either seen by the looks that follow, or sees the mark.
func (r *run) confirm(ctx context.Context) (string, error) {
	for _, unit := range losers(&r.order.Plan) {
		if err := r.o.Cluster.Mark(ctx, unit, r.order.Version); err != nil {
			return "", err
		}
	}
	dead := map[string][]msha.RosterMember{} // by unit, in the last look at it
	err := r.until(ctx, Confirm, func(s *sighting) []string {
		dead[s.unit] = nil
		for _, m := range s.members {
			if s.acks[m.ClientID] < r.order.Version {
				dead[s.unit] = append(dead[s.unit], m)
			}
		}
		waiting := r.unconfirmed(s)
		for _, stranger := range s.strangers {
			waiting = append(waiting, stranger.String())
		}
		return waiting
	})
	all := slices.Concat(slices.Collect(maps.Values(dead))...)
	if err != nil || len(all) == 0 {
		return "", err
	}
	var names []string
	for _, m := range all {
		names = append(names, m.ClientID)
	}
	if err := r.o.Registry.Prune(ctx, all); err != nil {
		r.o.Logger.Warn("dead processes stay in the roster", "clients", names, "error", err)
	}
	return "gone without acknowledgement: " + list(names), nil
}

func (r *run) unconfirmed(s *sighting) (waiting []string) {
	for _, m := range s.members {
		if v := s.acks[m.ClientID]; v < r.order.Version && !r.gone(m) {
			waiting = append(waiting, fmt.Sprintf("%s (groups %s; acknowledged version %d, fenced is %d)", m.ClientID, strings.Join(m.Groups, ", "), v, r.order.Version))
		}
	}
	return waiting
}

// until looks at every losing unit until none has anybody to wait for.
func (r *run) until(ctx context.Context, phase string, waitingFor func(*sighting) []string) error {
	strangers := map[string]int{}
	var before []string // what the last complete look waited for
	for {
		var waiting []string
		seen := map[string]bool{}
		for _, unit := range losers(&r.order.Plan) {
			s, err := r.look(ctx, unit)
			if err != nil {
				if ctx.Err() != nil && before != nil {
					waiting = before
					continue
				}
				if ctx.Err() == nil && permanent(err) {
					return err
				}
				waiting = append(waiting, unit+" does not answer: "+err.Error())
				continue
			}
			waiting = append(waiting, waitingFor(s)...)
			for _, name := range s.strangers {
				seen[unit+": "+name.String()] = true
			}
		}
		for name := range strangers {
			if !seen[name] {
				delete(strangers, name)
			}
		}
		var found []string
		for name := range seen {
			if strangers[name]++; strangers[name] >= strangerLooks {
				found = append(found, name)
			}
		}
		if len(found) > 0 {
			return msha.Errorf("switch."+phase, list(found), "stop it, let it use package agent (clients of POP or the gRPC proxy cannot), or allow-unmanaged=<group>",
				"%w: it takes part in a managed group and does not know the routes", msha.ErrUnmanaged)
		}
		if len(waiting) == 0 && (phase == Drain || len(seen) == 0) {
			return nil
		}
		before = waiting
		r.wait(phase, list(append(waiting, keys(seen)...)))
		if err := r.sleep(ctx); err != nil {
			if errors.Is(err, errDeadline) {
				return r.late(phase, waiting)
			}
			return err
		}
	}
}

func (r *run) late(phase string, waiting []string) error {
	return msha.Errorf("switch."+phase, list(waiting), "see the log of this process; a handler may still be running; or use a longer deadline",
		"%w within %s", msha.ErrNotConfirmed, r.order.Plan.Deadline.Round(time.Millisecond))
}

// permanent errors do not go away by asking again.
func permanent(err error) bool {
	return errors.Is(err, msha.ErrNotFound) || errors.Is(err, msha.ErrInvalid) || errors.Is(err, msha.ErrMissingFacts) || errors.Is(err, msha.ErrGap) || errors.Is(err, msha.ErrUnsafe)
}

func losers(plan *msha.Plan) []string {
	return unitsOf(plan, func(m msha.Move) string { return m.From })
}

func gainers(plan *msha.Plan) []string {
	return unitsOf(plan, func(m msha.Move) string { return m.To })
}

func unitsOf(plan *msha.Plan, of func(msha.Move) string) []string {
	var out []string
	for _, m := range plan.Moves {
		out = append(out, of(m))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
