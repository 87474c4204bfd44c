package switchplan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// Executor runs switches. Its methods are safe for concurrent use; switches of different routes run side by side.
type Executor struct {
	o Options

	mu      sync.Mutex
	active  map[string]bool      // orders this executor works on
	orphans map[string]time.Time // fences without an unfinished order: first seen
}

// New checks the options: ErrInvalid names every missing one. It does not block.
func New(o *Options) (*Executor, error) {
	opts := o.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	return &Executor{o: opts, active: map[string]bool{}, orphans: map[string]time.Time{}}, nil
}

// Run executes a plan and blocks until its last phase ended or its time is up; the new owner goes on by itself then. Errors before
// the commit also satisfy errors.Is with ErrAborted once the routes are open again where they were: ErrNotConfirmed and
// ErrUnmanaged name who did not take part, ErrBusy, ErrInvalid and ErrUnsafe (alone) mean that nothing was begun. If neither the end nor the abort of
// a switch could be written, the order stays and Resume finishes it. The report is never nil.
func (e *Executor) Run(ctx context.Context, plan *msha.Plan) (*Report, error) {
	if err := checkPlan(plan); err != nil {
		return &Report{}, err
	}
	order := Order{ID: plan.ID, Plan: *plan, State: StateRunning, Phase: plan.Steps[0].Name, Manager: e.o.Manager}
	for _, group := range plan.Request.AllowUnmanaged {
		order.Override = append(order.Override, "allow-unmanaged="+group)
	}
	if err := e.trusted(); err != nil {
		return &Report{Task: plan.ID}, err
	}
	if !e.claim(order.ID) {
		return &Report{Task: plan.ID}, msha.Errorf("switch.run", plan.ID, "wait until it ends", "%w: the plan is running", msha.ErrBusy)
	}
	defer e.release(order.ID)
	if err := create(ctx, e.o.Store, order); err != nil {
		return &Report{Task: plan.ID}, err
	}
	return e.execute(ctx, order, plan.Steps)
}

func checkPlan(plan *msha.Plan) error {
	var names []string
	if plan != nil {
		for _, s := range plan.Steps {
			if Number(s.Name) > 0 {
				names = append(names, s.Name)
			}
		}
	}
	if plan == nil || plan.ID == "" || len(plan.Moves) == 0 || plan.Deadline <= 0 || !slices.Equal(names, phases) || plan.Steps[0].Name != Check {
		return msha.Errorf("switch.run", "", "make plans with a Planner", "%w: a plan needs an id, moves, a deadline and the seven phases in order", msha.ErrInvalid)
	}
	return nil
}

// trusted is ErrUnsafe if compare-and-set cannot be relied on: two managers could both believe that theirs was the commit.
func (e *Executor) trusted() error {
	if err := msha.Safe(e.o.Store); err != nil {
		return msha.Errorf("switch.run", "", "switch on a metastore that keeps compare-and-set", "%w", err)
	}
	return nil
}

func (e *Executor) claim(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.active[id] {
		return false
	}
	e.active[id] = true
	return true
}

func (e *Executor) release(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.active, id)
}

// run is one execution of one order.
type run struct {
	*Executor
	absent   map[session]time.Time // roster members no broker lists, since when without a break
	undone   []string              // steps already compensated
	steps    []msha.Step
	report   *Report
	started  time.Time
	fenced   time.Time   // when this executor first knew of the fence
	table    *msha.Table // the one that holds the fence
	deadline time.Time   // of the fence; zero before it
	waiting  string      // last reason given to the observer
	lose     context.CancelCauseFunc

	order  Order // as the phases know it
	mu     sync.Mutex
	stored Order // as the document has it, beats included
}

// execute works on an order this executor owns, from its next step on.
func (e *Executor) execute(ctx context.Context, order Order, steps []msha.Step) (*Report, error) {
	ctx, lose := context.WithCancelCause(ctx)
	r := &run{Executor: e, absent: map[session]time.Time{}, steps: steps, order: order, stored: order, started: time.Now(), lose: lose, report: &Report{Task: order.ID, Moved: moved(&order.Plan), Phases: slices.Clone(order.Results)}}
	stopBeat := r.beat(ctx)
	err := r.phases(ctx)
	stopBeat()
	lose(nil)
	r.report.Duration = time.Since(r.started)
	e.o.Observer.Done(order.ID, r.report, err)
	return r.report, err
}

// moved lists what a plan moves, as reports show it.
func moved(plan *msha.Plan) []string {
	var out []string
	for _, m := range plan.Moves {
		out = append(out, m.Values...)
		if m.Whole && len(m.Values) == 0 {
			out = append(out, "@"+m.Set)
		}
	}
	slices.Sort(out)
	return out
}

func (r *run) phases(ctx context.Context) error {
	var late error
	for r.order.Next < len(r.steps) {
		step := r.steps[r.order.Next]
		if err := r.saved(ctx, func(o *Order) { o.Phase = step.Name }); err != nil {
			return r.failed(ctx, step.Name, err)
		}
		r.o.Observer.Phase(r.order.ID, step.Name)
		if n := Number(step.Name); n > 0 {
			r.o.Logger.Info(fmt.Sprintf("Process MSHA route switch: task=%s, phase=%d", r.order.ID, n))
		}
		begun := time.Now()
		note, err := r.step(ctx, step)
		if err != nil && (r.order.State != StateCommitted || ctx.Err() != nil) {
			return r.failed(ctx, step.Name, err)
		}
		if err != nil { // nothing can be undone any more: finish what was decided
			note = err.Error()
			late = errors.Join(late, err)
		}
		result := PhaseResult{Phase: step.Name, Duration: time.Since(begun), Note: note}
		r.report.Phases = append(r.report.Phases, result)
		if step.Name == Commit && !r.fenced.IsZero() {
			r.report.Pause = time.Since(r.fenced)
		}
		err = r.saved(ctx, func(o *Order) {
			o.Next++
			o.Results = append(o.Results, result)
			if step.Name == Commit {
				o.State = StateCommitted
			}
			if o.Next == len(r.steps) {
				o.State = StateDone
			}
		})
		if err != nil {
			return r.failed(ctx, step.Name, err)
		}
	}
	r.o.Logger.Info("Complete process MSHA route switch: task=" + r.order.ID)
	return late
}

func (r *run) step(ctx context.Context, step msha.Step) (string, error) {
	if r.order.State == StateRunning {
		if err := r.trusted(); err != nil {
			return "", err
		}
	}
	switch step.Name {
	case Check:
		bounded, cancel := context.WithTimeoutCause(ctx, r.o.GateWindow+r.order.Plan.Deadline, errDeadline)
		defer cancel()
		return r.check(bounded)
	case Fence:
		return "", r.fence(ctx)
	case TakeOver:
		return r.takeOver(ctx)
	}
	if Number(step.Name) == 0 {
		return "", r.user(ctx, step)
	}
	if err := r.stillFenced(ctx, step.Name); err != nil {
		return "", err
	}
	if step.Name == Commit {
		return "", r.commit(ctx)
	}
	// A passed deadline ends the phase even if a call hangs.
	bounded, cancel := context.WithDeadlineCause(ctx, r.deadline, errDeadline)
	defer cancel()
	switch step.Name {
	case Drain:
		return "", r.drain(bounded)
	case Confirm:
		return r.confirm(bounded)
	}
	return "", r.handOver(bounded)
}

var errDeadline = errors.New("the deadline of the fence passed")

// user runs a user's step.
func (r *run) user(ctx context.Context, step msha.Step) error {
	if step.Do == nil {
		return msha.Errorf("switch.step", step.Name, "register it in Options.Steps of every manager", "step %w in this process", msha.ErrNotFound)
	}
	timeout := step.Timeout
	if timeout == 0 {
		timeout = r.order.Plan.Deadline
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := call(ctx, step.Do); err != nil {
		return msha.Errorf("switch.step", step.Name, "", "%w", err)
	}
	return nil
}

// stepGrace is how long a step may take to return once its context ended; its Undo must not run beside it.
const stepGrace = time.Second

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
		return ctx.Err()
	}
}

// save changes the order by compare-and-set. It fails with errLost once another executor has taken the order over.
func (r *run) save(ctx context.Context, edit func(*Order)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.stored
	next.Results = slices.Clone(next.Results)
	edit(&next)
	next.Beat++
	err := updateOrders(ctx, r.o.Store, func(o *Orders) error {
		stored := o.find(next.ID)
		if stored == nil || stored.Manager != r.o.Manager {
			return errLost
		}
		*stored = next
		return nil
	})
	if err == nil {
		r.stored = next
	}
	return err
}

// saved is save for the goroutine that runs the phases, which reads the order without a lock.
func (r *run) saved(ctx context.Context, edit func(*Order)) error {
	if err := r.save(ctx, edit); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order = r.stored
	return nil
}

// beat shows other executors that this one works on the order.
func (r *run) beat(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(r.o.ResumeAfter / 4)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := r.save(ctx, func(*Order) {}); errors.Is(err, errLost) {
					r.lose(errLost)
					return
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

// sleep waits one poll; it returns why ctx ended if it did.
func (r *run) sleep(ctx context.Context) error {
	t := time.NewTimer(r.o.Poll)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// wait tells the observer what a phase waits for.
func (r *run) wait(phase, why string) {
	if why != r.waiting {
		r.waiting = why
		r.o.Observer.Waiting(r.order.ID, phase, why)
	}
}
