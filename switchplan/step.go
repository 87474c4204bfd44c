package switchplan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-msha/msha"
)

// user runs a user's step: condition, attempts, and what becomes of a failure.
func (r *run) user(ctx context.Context, step msha.Step) (PhaseResult, error) {
	if step.Kind == msha.StepApproval {
		return r.approval(ctx, step)
	}
	if step.Do == nil {
		return PhaseResult{}, msha.Errorf("switch.step", step.Name, "register it in Options.Steps of every manager", "step %w in this process", msha.ErrNotFound)
	}
	result, err := r.attempts(ctx, step)
	result.Interrupted = r.interrupted
	if err == nil {
		return result, nil
	}
	if errors.Is(context.Cause(ctx), errDeadline) {
		err = fmt.Errorf("%w: %w", errDeadline, err)
	}
	err = msha.Errorf("switch.step", step.Name, "", "%w", err)
	if step.SkipOnError && ctx.Err() == nil {
		r.o.Logger.Warn("skipped a step that failed", "task", r.order.ID, "step", step.Name, "attempts", result.Attempts, "error", err)
		result.Skipped = err.Error()
		return result, nil
	}
	return result, err
}

func (r *run) attempts(ctx context.Context, step msha.Step) (result PhaseResult, err error) {
	if step.Skip != nil {
		var why string
		bounded, cancel := context.WithTimeout(ctx, r.timeout(step))
		err := call(bounded, func(ctx context.Context) (err error) {
			why, err = step.Skip(ctx)
			return err
		})
		cancel()
		if err != nil {
			return result, err // a stuck condition may still write its reason
		}
		if why != "" {
			result.Skipped = why
			return result, nil
		}
	}
	for {
		result.Attempts++
		bounded, cancel := context.WithTimeout(ctx, r.timeout(step))
		err = call(bounded, step.Do)
		cancel()
		if err == nil {
			return result, nil
		}
		r.interrupted = r.interrupted || interrupted(err)
		if result.Attempts >= step.Attempts || ctx.Err() != nil || errors.Is(err, errStuck) {
			return result, err
		}
		r.o.Logger.Warn("a step failed, will try again", "task", r.order.ID, "step", step.Name, "attempt", result.Attempts, "of", step.Attempts, "error", err)
		r.tell(Event{Kind: EventRetry, Phase: step.Name, Text: fmt.Sprintf("attempt %d of %d", result.Attempts, step.Attempts), Error: err.Error()})
		if slept := r.sleepFor(ctx, step.Pause); slept != nil {
			return result, errors.Join(err, slept)
		}
	}
}

// timeout is that of each call of a step.
func (r *run) timeout(step msha.Step) time.Duration {
	if step.Timeout > 0 {
		return step.Timeout
	}
	return r.order.Plan.Deadline
}

// interrupted tells that a function was stopped in the middle, as far as anybody knows.
func interrupted(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// stepGrace is how long a step may take to return once its context ended; its Undo must not run beside it.
const stepGrace = time.Second

// errStuck says that a function did not return, so it must not be called again.
var errStuck = errors.New("it ignores the end of its context and still runs")

// call turns a panic of a user's function into an error and does not wait for ever for one that ignores its context.
func call(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- f(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	t := time.NewTimer(stepGrace)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fmt.Errorf("%w: %w", ctx.Err(), errStuck)
	}
}
