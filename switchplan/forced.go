package switchplan

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-msha/msha"
)

// healthyLook bounds the look at the losing units of a forced switch, which as a rule do not answer.
const healthyLook = 500 * time.Millisecond

// healthy lists the losing units that a planned switch could ask: every process of the roster is connected, and there is one.
func (e *Executor) healthy(ctx context.Context, plan *msha.Plan, units *msha.Units, roster msha.Roster) (out []string) {
	ctx, cancel := context.WithTimeout(ctx, healthyLook)
	defer cancel()
	for _, unit := range losers(plan) {
		groups := managed(units, roster, unit)
		listed, err := e.o.Cluster.Clients(ctx, unit, groups)
		if err != nil {
			continue
		}
		members := membersOf(roster, unit)
		gone := slices.ContainsFunc(members, func(m msha.RosterMember) bool { return !connected(m, groups, listed) })
		if len(members) > 0 && !gone {
			out = append(out, unit)
		}
	}
	return out
}

// lastingFence gives the fence of a forced switch the time that it waits for gates.
func (e *Executor) lastingFence(ctx context.Context, plan *msha.Plan) (*msha.Plan, error) {
	if !plan.Request.Forced {
		return plan, nil
	}
	roster, err := e.o.Registry.Roster(ctx)
	if err != nil {
		return nil, err
	}
	if len(strict(plan, roster)) == 0 || plan.Request.Deadline > 0 {
		return plan, nil
	}
	out := *plan
	out.Deadline = max(out.Deadline, e.o.GateWindow+DefaultDeadline)
	return &out, nil
}

// strict are the processes of the losing units that stop by themselves.
func strict(plan *msha.Plan, roster msha.Roster) (out []msha.RosterMember) {
	for _, unit := range losers(plan) {
		for _, m := range membersOf(roster, unit) {
			if m.Strict {
				out = append(out, m)
			}
		}
	}
	return out
}

// drainForced gives processes of the losing units that are alive after all a moment to stop, for whatever they start meanwhile is started
// twice. A unit that does not answer gets none. Where processes are strict, it waits until their gates are closed: they start nothing under a
// table that was not confirmed within G.
func (r *run) drainForced(ctx context.Context) (note string, err error) {
	begun := now() // the fence is written: who read a table without it did so before
	waiting := r.graceful(ctx)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if len(waiting) == 0 {
		return "every process of the losing units acknowledged", nil
	}
	roster, err := r.o.Registry.Roster(ctx)
	if err != nil {
		return "", err
	}
	if gates := clientsOf(strict(&r.order.Plan, roster)); len(gates) > 0 {
		r.wait(Drain, "the gates of "+list(gates)+" close within "+r.o.GateWindow.String())
		if err := r.sleepFor(ctx, r.o.GateWindow-now().Sub(begun)); err != nil {
			if errors.Is(err, errDeadline) {
				return "", r.late(Drain, gates)
			}
			return "", err
		}
		return "the gates of processes that did not acknowledge are closed", nil
	}
	return "not acknowledged: " + list(waiting), nil
}

// graceful waits for the units that answer, at most ForcedGrace; it returns who did not acknowledge.
func (r *run) graceful(ctx context.Context) (waiting []string) {
	ctx, cancel := context.WithTimeout(ctx, r.o.ForcedGrace)
	defer cancel()
	for {
		alive, before := false, waiting
		waiting = nil
		for _, unit := range losers(&r.order.Plan) {
			s, err := r.look(ctx, unit, 0)
			switch {
			case err != nil && ctx.Err() != nil && before != nil:
				return before
			case err != nil:
				waiting = append(waiting, unit+" does not answer")
				continue
			}
			left := r.unconfirmed(s)
			waiting, alive = append(waiting, left...), alive || len(left) > 0
		}
		if !alive || r.sleep(ctx) != nil {
			return waiting
		}
	}
}

func clientsOf(members []msha.RosterMember) (out []string) {
	for _, m := range members {
		out = append(out, m.ClientID)
	}
	return out
}
