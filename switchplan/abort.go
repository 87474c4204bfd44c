package switchplan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-msha/msha"
)

// cleanupTimeout bounds an abort, which goes on when the caller's context has ended.
const cleanupTimeout = 10 * time.Second

func now() time.Time { return time.Now() }

func index(steps []msha.Step, name string) int {
	return slices.IndexFunc(steps, func(s msha.Step) bool { return s.Name == name })
}

// failed ends a run that cannot go on: it aborts before the commit and leaves the order to Resume after it.
func (r *run) failed(ctx context.Context, phase string, cause error) error {
	if errors.Is(cause, errLost) || errors.Is(context.Cause(ctx), errLost) {
		return msha.Errorf("switch."+phase, r.order.ID, "ask the other manager", "%w: %w", msha.ErrBusy, errLost)
	}
	if errors.Is(cause, errGaveWay) || errors.Is(context.Cause(ctx), errGaveWay) {
		r.order.State = StateAborted // as the document says; nothing was begun
		return msha.Errorf("switch."+phase, r.order.ID, "see GET /orders", "%w: %w", msha.ErrBusy, errGaveWay)
	}
	if r.order.State == StateCommitted {
		return msha.Errorf("switch."+phase, r.order.ID, "the routes have moved; a manager finishes the order", "%w", cause)
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if r.order.Next >= index(r.steps, Commit) { // its compare-and-set may have succeeded although its answer was lost
		if t, err := r.o.Tables.Current(clean); err == nil && locate(t, &r.order.Plan) == committed {
			return r.goOn(ctx, cause)
		}
	}
	fenceAt := index(r.steps, Fence)
	begun := r.order.Next >= fenceAt
	undone := r.undo(clean, max(fenceAt, 0), cause)
	if begun {
		err := r.reopen(clean)
		if errors.Is(err, errCommitted) {
			return r.goOn(ctx, cause)
		}
		if err != nil {
			return msha.Errorf("switch."+phase, r.order.ID, "the routes stay fenced until a manager finishes the order, or their deadline passes",
				"%w; reopening failed too: %w", cause, err)
		}
	}
	if begun {
		r.tell(Event{Kind: EventReopened})
	}
	undone = errors.Join(undone, r.undo(clean, 0, cause))
	err := cause
	if r.order.Next > 0 {
		err = fmt.Errorf("%w: %w", msha.ErrAborted, cause)
	}
	err = errors.Join(err, undone)
	if failed := r.saved(clean, func(o *Order) { o.State, o.Error = StateAborted, err.Error() }); failed != nil {
		err = errors.Join(err, msha.Errorf("switch.order", r.order.ID, "a manager finishes the order", "%w", failed))
	}
	r.o.Logger.Warn("Aborted MSHA route switch: task="+r.order.ID, "phase", phase, "error", err)
	return err
}

// goOn continues after a commit whose answer was lost.
func (r *run) goOn(ctx context.Context, cause error) error {
	if err := ctx.Err(); err != nil {
		return msha.Errorf("switch."+Commit, r.order.ID, "the routes have moved; a manager finishes the order", "%w", cause)
	}
	next := index(r.steps, Commit) + 1
	if err := r.saved(ctx, func(o *Order) { o.State, o.Next = StateCommitted, next }); err != nil {
		return msha.Errorf("switch."+Commit, r.order.ID, "the routes have moved; a manager finishes the order", "%w", err)
	}
	return r.phases(ctx)
}

// undo compensates the user's steps from the running one down to index low, each once.
func (r *run) undo(ctx context.Context, low int, cause error) error {
	var all error
	for i := min(r.order.Next, len(r.steps)-1); i >= low; i-- {
		step := r.steps[i]
		if slices.Contains(r.undone, step.Name) || !r.hadEffect(i, cause) {
			continue
		}
		r.undone = append(r.undone, step.Name)
		if step.Undo == nil {
			if step.Do == nil {
				all = errors.Join(all, msha.Errorf("switch.undo", step.Name, "undo it by hand, and register it in Options.Steps of every manager", "step %w in this process", msha.ErrNotFound))
			}
			continue
		}
		each, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout(step))
		err := call(each, step.Undo)
		cancel()
		r.tell(Event{Kind: EventUndo, Phase: step.Name, Error: text(err)})
		if err != nil {
			all = errors.Join(all, msha.Errorf("switch.undo", step.Name, "undo it by hand", "%w", err))
		}
	}
	return all
}

// hadEffect says whether a step may have done something: it ended well, or was interrupted. A step that failed by itself has cleaned up.
func (r *run) hadEffect(i int, cause error) bool {
	step := r.steps[i]
	if Number(step.Name) > 0 || step.Kind == msha.StepApproval {
		return false
	}
	if i == r.order.Next {
		return r.interrupted || interrupted(cause)
	}
	at := slices.IndexFunc(r.order.Results, func(p PhaseResult) bool { return p.Phase == step.Name })
	return at < 0 || r.order.Results[at].Skipped == "" || r.order.Results[at].Interrupted
}
