package switchplan

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-msha/msha"
)

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
	if err := r.brokers(ctx); err != nil {
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
	if err := r.known(ctx); err != nil {
		return "", err
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

// brokers refuses the switch if a broker is away whose log is needed: without it the hand-over fails behind the fence.
func (r *run) brokers(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.order.Plan.Deadline, errDeadline)
	defer cancel()
	for _, unit := range neededUnits(&r.order.Plan) {
		if err := r.insist(ctx, Check, unit, func() (string, error) { return "", r.o.Facts.Present(ctx, unit) }); err != nil {
			return err
		}
	}
	return nil
}

// neededUnits are those whose logs are read or written.
func neededUnits(plan *msha.Plan) []string {
	if plan.Request.Forced {
		return gainers(plan)
	}
	all := append(losers(plan), gainers(plan)...)
	slices.Sort(all)
	return slices.Compact(all)
}

// known waits for the first facts of groups whose processes have just begun, and refuses the switch if nobody will write any: without them
// nothing says what remains, which is better known before the fence.
func (r *run) known(ctx context.Context) error {
	for _, unit := range losers(&r.order.Plan) {
		if err := r.insist(ctx, Check, unit, func() (string, error) {
			missing, err := r.o.Facts.Missing(ctx, unit)
			if err != nil || len(missing) == 0 {
				return "", err
			}
			roster, err := r.o.Registry.Roster(ctx)
			if err != nil {
				return "", err
			}
			for _, group := range missing {
				if !slices.ContainsFunc(membersOf(roster, unit), func(m msha.RosterMember) bool { return slices.Contains(m.Groups, group) }) {
					return "", msha.Errorf("switch.check", "group "+group+", unit "+unit, "start it once in this unit, or take it out of the unit document",
						"%w: a listed group has none in the unit's log", msha.ErrMissingFacts)
				}
			}
			return "no facts yet of " + list(missing), nil
		}); err != nil {
			return err
		}
	}
	return nil
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
