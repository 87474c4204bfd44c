package switchplan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-msha/msha"
)

// cleanupTimeout bounds each call of an abort, which goes on when the caller's context has ended.
const cleanupTimeout = 10 * time.Second

func now() time.Time { return time.Now() }

func index(steps []msha.Step, name string) int {
	return slices.IndexFunc(steps, func(s msha.Step) bool { return s.Name == name })
}

// failed ends a run that cannot go on: it aborts before the commit and leaves the order to Resume after it.
func (r *run) failed(ctx context.Context, phase string, cause error) error {
	r.interrupted = r.interrupted || interrupted(cause)
	why := whyEnded(ctx, cause)
	switch {
	case why == errLost:
		return r.lost(phase)
	case r.order.State == StateCommitted:
		return msha.Errorf("switch."+phase, r.order.ID, "the routes have moved; a manager finishes the order", "%w", cause)
	case why == errGaveWay:
		cause = msha.Errorf("switch."+phase, r.order.ID, "see GET /orders", "%w: %w", msha.ErrBusy, errGaveWay)
	case why == ErrCalledOff:
		cause = r.calledOff(phase)
	}
	problems, err := r.abort(cause)
	switch {
	case errors.Is(err, errCommitted):
		return r.goOn(ctx, cause)
	case errors.Is(err, errLost), context.Cause(r.owned) == errLost:
		return r.lost(phase)
	case err != nil:
		return msha.Errorf("switch."+phase, r.order.ID, "a manager ends the abort; until then what was fenced stays fenced, and steps that are not undone stay as they are",
			"%w; the abort failed too: %w", errors.Join(cause, problems), err)
	}
	if err = cause; r.order.Next > 0 {
		err = fmt.Errorf("%w: %w", msha.ErrAborted, cause)
	}
	err = errors.Join(err, problems)
	failed := r.saved(r.cleanup(), func(o *Order) { o.State, o.Error = StateAborted, err.Error() })
	switch {
	case errors.Is(failed, errGaveWay): // the document says already that it is aborted
		r.order.State = StateAborted
	case failed != nil:
		err = errors.Join(err, msha.Errorf("switch.order", r.order.ID, "a manager finishes the order", "%w", failed))
	}
	r.o.Logger.Warn("Aborted MSHA route switch: task="+r.order.ID, "phase", phase, "error", err)
	return err
}

func (r *run) lost(phase string) error {
	return msha.Errorf("switch."+phase, r.order.ID, "ask the other manager", "%w: %w", msha.ErrBusy, errLost)
}

// whyEnded finds out whether somebody else ended the run.
func whyEnded(ctx context.Context, cause error) error {
	for _, why := range []error{errLost, errGaveWay, ErrCalledOff} {
		if errors.Is(cause, why) || errors.Is(context.Cause(ctx), why) {
			return why
		}
	}
	return nil
}

// cleanup is the context of one call of an abort. It ends with the order's being this executor's.
func (r *run) cleanup() context.Context {
	ctx, cancel := context.WithTimeout(r.owned, cleanupTimeout)
	context.AfterFunc(ctx, cancel) // at the latest with the run
	return ctx
}

// abort undoes what the order has done: steps behind the fence, the fence, steps before it. It returns what went wrong with steps, and why it
// could not come to its end. errCommitted: there is nothing to abort, and nothing was undone.
//
// Nobody may go forward meanwhile. So the first thing is to write into the order that it is aborting, which an executor that has lost it cannot:
//
//	an executor undoes a step, and cannot reopen the routes → another one resumes the order forward → committed, with the step undone
//
// If that fails nothing is undone, and the order is another executor's to resume. Neither is anything undone as long as the commit, if it was
// tried, is not ruled out in the table.
func (r *run) abort(cause error) (problems, stopped error) {
	fenceAt := index(r.steps, Fence)
	steps := r.toUndo()
	behind := slices.DeleteFunc(slices.Clone(steps), func(i int) bool { return i < fenceAt })
	if r.mayCommit() { // it may have succeeded although its answer was lost
		t, err := r.o.Tables.Current(r.cleanup())
		if err != nil {
			return nil, err
		}
		if locate(t, &r.order.Plan) == committed {
			return nil, errCommitted
		}
	}
	if len(steps) > 0 && r.order.State != StateAborting {
		if err := r.saved(r.cleanup(), func(o *Order) {
			o.State, o.Error = StateAborting, cause.Error()
			if running := r.steps[min(o.Next, len(r.steps)-1)]; Number(running.Name) == 0 && !r.interrupted {
				o.Undone = append(slices.Clone(o.Undone), running.Name) // it has failed by itself: another executor could not know
			}
		}); err != nil {
			return nil, err
		}
	}
	if r.order.fences() {
		if len(behind) > 0 && r.mayCommit() {
			if err := r.ruleOut(r.cleanup()); err != nil {
				return nil, err
			}
		}
		// The old owner may need what these steps took away: it starts again when they are undone, or have had their time.
		if problems, stopped = r.undo(behind); stopped != nil {
			return problems, stopped
		}
		if err := r.reopen(r.cleanup()); err != nil {
			return problems, err
		}
		r.tell(Event{Kind: EventReopened})
	}
	more, stopped := r.undo(steps[len(behind):])
	return errors.Join(problems, more), stopped
}

// goOn continues after a commit whose answer was lost.
func (r *run) goOn(ctx context.Context, cause error) error {
	if errors.Is(context.Cause(ctx), ErrCalledOff) {
		r.o.Logger.Warn("a switch was called off too late: its routes have moved", "task", r.order.ID)
		ctx = r.begin()
	}
	if err := ctx.Err(); err != nil {
		return msha.Errorf("switch."+Commit, r.order.ID, "the routes have moved; a manager finishes the order", "%w", cause)
	}
	next := index(r.steps, Commit) + 1
	if err := r.saved(ctx, func(o *Order) {
		o.State, o.Next, o.Error, o.Undone = StateCommitted, next, "", nil
	}); err != nil {
		return msha.Errorf("switch."+Commit, r.order.ID, "the routes have moved; a manager finishes the order", "%w", err)
	}
	return r.phases(ctx)
}

// toUndo lists the user's steps that have to be undone, from the running one down.
func (r *run) toUndo() (steps []int) {
	for i := min(r.order.Next, len(r.steps)-1); i >= 0; i-- {
		step := r.steps[i]
		if r.hadEffect(i) && !slices.Contains(r.order.Undone, step.Name) && (step.Undo != nil || step.Do == nil) {
			steps = append(steps, i)
		}
	}
	return steps
}

// hadEffect says whether a step may have done something: it ended well, or was interrupted. A step that failed by itself has cleaned up.
func (r *run) hadEffect(i int) bool {
	step := r.steps[i]
	if Number(step.Name) > 0 || step.Kind == msha.StepApproval {
		return false
	}
	if i == r.order.Next {
		return r.interrupted
	}
	at := slices.IndexFunc(r.order.Results, func(p PhaseResult) bool { return p.Phase == step.Name })
	return at < 0 || r.order.Results[at].Skipped == "" || r.order.Results[at].Interrupted
}

// undo compensates steps one after the other, and writes after each that it is undone. It stops where that fails, so at most the last one is
// undone again by another executor. One that fails or runs out of time is reported, and not tried again.
func (r *run) undo(steps []int) (problems, stopped error) {
	for _, i := range steps {
		step := r.steps[i]
		if err := r.reload(r.cleanup()); err != nil { // a process that stood still may have lost the order
			return problems, err
		}
		err := r.compensate(step)
		problems = errors.Join(problems, err)
		if err := r.saved(r.cleanup(), func(o *Order) {
			o.Undone, o.Withdrawn = append(slices.Clone(o.Undone), step.Name), true
			if err != nil {
				o.Error += "; " + err.Error()
			}
		}); err != nil {
			return problems, err
		}
	}
	return problems, nil
}

func (r *run) compensate(step msha.Step) error {
	if step.Undo == nil {
		return msha.Errorf("switch.undo", step.Name, "undo it by hand, and register it in Options.Steps of every manager", "step %w in this process", msha.ErrNotFound)
	}
	each, cancel := context.WithTimeout(r.owned, r.timeout(step))
	defer cancel()
	err := call(each, step.Undo)
	r.tell(Event{Kind: EventUndo, Phase: step.Name, Error: text(err)})
	if err != nil {
		return msha.Errorf("switch.undo", step.Name, "undo it by hand", "%w", err)
	}
	return nil
}
