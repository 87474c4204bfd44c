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

// drain waits until the old owner's agents acknowledged the fence. Meanwhile it marks the logs, before the looks of confirm: a process that
// joins again after a long absence is either seen by them, or sees the mark.
func (r *run) drain(ctx context.Context) error {
	if err := r.mark(ctx, Drain); err != nil {
		return err
	}
	return r.until(ctx, Drain, r.unconfirmed)
}

// mark writes the fenced version into the logs of the losing units, once.
func (r *run) mark(ctx context.Context, phase string) error {
	if r.marked >= r.order.Version {
		return nil
	}
	for _, unit := range losers(&r.order.Plan) {
		if err := r.insist(ctx, phase, unit, func() (string, error) {
			return "", r.o.Cluster.Mark(ctx, unit, r.order.Version)
		}); err != nil {
			return err
		}
		r.watched(unit, now())
	}
	r.marked = r.order.Version
	return nil
}

// confirm looks once more at everybody, then takes the dead out of the roster.
func (r *run) confirm(ctx context.Context) (string, error) {
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
	maxAge := time.Duration(0)
	if phase == Drain {
		maxAge = connectionsAge
	}
	var before []string // what the last complete look waited for
	for {
		var waiting []string
		seen := map[string]bool{}
		for _, unit := range losers(&r.order.Plan) {
			s, err := r.look(ctx, unit, maxAge)
			if err != nil {
				if ctx.Err() != nil && before != nil {
					waiting = before
					continue
				}
				if ctx.Err() == nil && permanent(err) {
					return err
				}
				waiting = append(waiting, silent(ctx, unit, err))
				continue
			}
			waiting = append(waiting, waitingFor(s)...)
			r.record(s.passedBy())
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

// insist calls f until it has no reason to wait any more. An error that may go away is one.
func (r *run) insist(ctx context.Context, phase, unit string, f func() (waiting string, err error)) error {
	var before string // what the last complete call waited for
	for {
		waiting, err := f()
		switch {
		case err != nil && ctx.Err() != nil && before != "":
			waiting = before
		case err == nil && waiting == "":
			return nil
		case err != nil && ctx.Err() == nil && permanent(err):
			return err
		case err != nil:
			waiting = silent(ctx, unit, err)
		}
		before = waiting
		r.wait(phase, waiting)
		if err := r.sleep(ctx); err != nil {
			if errors.Is(err, errDeadline) {
				return r.late(phase, []string{waiting})
			}
			return err
		}
	}
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

// silent says that a unit could not be asked. A call that the end of the time cut off says nothing of the unit.
func silent(ctx context.Context, unit string, err error) string {
	if ctx.Err() != nil {
		return "no answer of " + unit + " in time"
	}
	return unit + " does not answer: " + err.Error()
}

func (r *run) late(phase string, waiting []string) error {
	return msha.Errorf("switch."+phase, list(waiting), "see the log of this process; a handler may still be running; or use a longer deadline",
		"%w within %s", msha.ErrNotConfirmed, r.order.Plan.Deadline.Round(time.Millisecond))
}

// permanent errors do not go away by asking again.
func permanent(err error) bool {
	return errors.Is(err, msha.ErrNotFound) || errors.Is(err, msha.ErrInvalid) || errors.Is(err, msha.ErrMissingFacts) || errors.Is(err, msha.ErrGap) || errors.Is(err, msha.ErrUnsafe)
}
