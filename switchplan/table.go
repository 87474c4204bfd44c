package switchplan

import (
	"context"
	"errors"

	"github.com/go-msha/msha"
)

// Where a plan's routes are, as the table says.
type place int

const (
	before    place = iota // open at the old owner, or in somebody else's hands
	fenced                 // by this plan
	aborting               // the same, and the plan must not commit any more
	committed              // at the new owner, or further
)

// locate compares a table with a plan. A commit is one edit, so one committed move stands for all.
func locate(t *msha.Table, plan *msha.Plan) place {
	for _, m := range plan.Moves {
		set, ok := t.Sets[m.NewSet]
		switch {
		case ok && set.Term > m.Term:
			return committed
		case !ok || set.State != msha.SetFenced || set.Switch != plan.ID:
			return before
		case set.Aborting:
			return aborting
		}
	}
	return fenced
}

var (
	errReopened  = errors.New("the routes are no longer fenced")
	errCommitted = errors.New("already committed")
)

// checkMoves refuses a plan made from a table that has changed since.
func checkMoves(t *msha.Table, plan *msha.Plan) error {
	for _, m := range plan.Moves {
		set, ok := t.Sets[m.Set]
		if ok && set.State == msha.SetFenced {
			return msha.Errorf("switch.check", "route set "+m.Set, "wait until it ends, then try again", "%w: in switch %s", msha.ErrBusy, set.Switch)
		}
		if !ok || set.Owner != m.From || set.Term != m.Term {
			return msha.Errorf("switch.check", "route set "+m.Set, "make a new plan", "%w: the table has changed since the plan was made: owner %q, term %d", msha.ErrConflict, set.Owner, set.Term)
		}
		if _, taken := t.Sets[m.NewSet]; taken != m.Whole {
			return msha.Errorf("switch.check", "route set "+m.NewSet, "make a new plan", "%w: the table has changed since the plan was made", msha.ErrConflict)
		}
	}
	return nil
}

// fence marks the routes; repeated, it finds them marked.
func (r *run) fence(ctx context.Context) error {
	plan := &r.order.Plan
	t, err := r.o.Tables.Update(ctx, func(t *msha.Table) (*msha.Table, error) {
		switch locate(t, plan) {
		case fenced:
			return t, nil
		case committed, aborting:
			return nil, errReopened
		}
		if err := checkMoves(t, plan); err != nil {
			return nil, err
		}
		if err := r.trusted(); err != nil { // by what the read of t has shown
			return nil, err
		}
		return r.o.Edits.Fence(t, plan)
	})
	if err != nil {
		return err
	}
	r.table = t
	r.note(func(o *Order) { o.Version = t.Version })
	return nil
}

// sight starts the fence's deadline on this executor's own clock.
func (r *run) sight() {
	if r.fenced.IsZero() {
		r.fenced = now()
		r.deadline = r.fenced.Add(r.order.Plan.Deadline)
	}
}

// stillFenced is asked before the phases that rely on the fence.
func (r *run) stillFenced(ctx context.Context, phase string) error {
	t, err := r.o.Tables.Current(ctx)
	if err != nil {
		return err
	}
	r.table = t
	if locate(t, &r.order.Plan) == fenced {
		return nil
	}
	return reopened(phase)
}

func reopened(phase string) error {
	return msha.Errorf("switch."+phase, "", "another executor aborts the switch, or somebody reopened them by hand; make a new plan", "%w", errReopened)
}

// commit gives the routes to the new owner. An error may hide a success, so the table is asked again.
func (r *run) commit(ctx context.Context) error {
	plan := &r.order.Plan
	if !now().Before(r.deadline) { // whether it was committed before is looked at by the abort
		return msha.Errorf("switch."+Commit, r.order.ID, "use a longer deadline, or put steps that take long before "+Fence, "%w: %w", errDeadline, context.DeadlineExceeded)
	}
	_, err := r.o.Tables.Update(ctx, func(t *msha.Table) (*msha.Table, error) {
		switch locate(t, plan) {
		case committed:
			return t, nil
		case before, aborting:
			return nil, reopened(Commit)
		}
		if err := r.trusted(); err != nil { // by what the read of t has shown
			return nil, err
		}
		return r.o.Edits.Commit(t, plan, r.order.Hashes)
	})
	if err == nil || errors.Is(err, errReopened) {
		return err
	}
	if t, again := r.o.Tables.Current(ctx); again == nil && locate(t, plan) == committed {
		return nil
	}
	return err
}

// ruleOut makes sure that the order is not committed while its steps are undone behind the fence; errCommitted if it was. A read would not do:
//
//	another executor is about to commit, and stands still → this one takes the order over, reads that nothing is committed, and undoes a step →
//	the other one goes on: committed
//
// So may a write whose answer was given up.
func (r *run) ruleOut(ctx context.Context) error {
	return r.withdraw(ctx, func(t *msha.Table, at place) (*msha.Table, error) {
		if at == aborting {
			return t, nil
		}
		return r.o.Edits.Abort(t, r.order.ID)
	})
}

// reopen gives the routes back to the old owner under the same term; errCommitted if it is too late for that.
func (r *run) reopen(ctx context.Context) error {
	return r.withdraw(ctx, func(t *msha.Table, _ place) (*msha.Table, error) { return r.o.Edits.Reopen(t, r.order.ID) })
}

// withdraw edits the fence of the order, if it is there.
func (r *run) withdraw(ctx context.Context, edit func(*msha.Table, place) (*msha.Table, error)) error {
	_, err := r.o.Tables.Update(ctx, func(t *msha.Table) (*msha.Table, error) {
		at := locate(t, &r.order.Plan)
		switch {
		case at == committed && r.mayCommit():
			return nil, errCommitted
		case at == committed, at == before: // moved by a later switch, or reopened: nothing of this one is left
			return t, nil
		}
		return edit(t, at)
	})
	return err
}

// mayCommit tells whether a commit that the table shows can be this order's.
func (r *run) mayCommit() bool { return r.order.Next >= index(r.steps, Commit) && !r.order.Withdrawn }
