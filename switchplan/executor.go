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
	movedAt map[string]movedOrder
}

// New checks the options: ErrInvalid names every missing one. It does not block.
func New(o *Options) (*Executor, error) {
	opts := o.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	return &Executor{o: opts, active: map[string]bool{}, orphans: map[string]time.Time{}, movedAt: map[string]movedOrder{}}, nil
}

// Run executes a plan and blocks until its last phase ended or its time is up; the new owner goes on by itself then. Errors before
// the commit also satisfy errors.Is with ErrAborted once the routes are open again where they were: ErrNotConfirmed and
// ErrUnmanaged name who did not take part; ErrBusy, ErrGuard, ErrInvalid, ErrUnsafe and, for steps without code, ErrNotFound (alone) mean that
// nothing was begun; ErrCalledOff says who wanted the abort. If neither the end nor the abort of a switch could be written, the order stays and
// Resume finishes it. The report is never nil.
func (e *Executor) Run(ctx context.Context, plan *msha.Plan) (*Report, error) {
	if err := checkPlan(plan); err != nil {
		return &Report{}, err
	}
	report := &Report{Task: plan.ID, By: plan.Request.By}
	plan, err := bind(plan, e.o.Steps)
	if err != nil {
		return report, err
	}
	if err := e.trusted(); err != nil {
		return report, err
	}
	if !e.claim(plan.ID) {
		return report, msha.Errorf("switch.run", plan.ID, "wait until it ends", "%w: the plan is running", msha.ErrBusy)
	}
	defer e.release(plan.ID)
	s, hits, err := e.guard(ctx, plan)
	if err != nil {
		return report, err
	}
	if err := checkAllowed(plan, s); err != nil {
		return report, err
	}
	if plan, err = e.lastingFence(ctx, plan); err != nil {
		return report, err
	}
	order := Order{ID: plan.ID, Plan: *plan, State: StateRunning, Phase: plan.Steps[0].Name, Manager: e.o.Manager, Overridden: hits}
	for _, group := range plan.Request.AllowUnmanaged {
		order.Override = append(order.Override, allowUnmanaged+group)
	}
	for _, name := range plan.Request.Override {
		order.Override = append(order.Override, "override="+name)
	}
	if err := create(ctx, e.o.Store, order, func(all *Orders) error { // another manager may have moved the routes since
		return e.stillAllowed(plan, all)
	}); err != nil {
		return report, err
	}
	return e.execute(ctx, order, plan.Steps, false)
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
	absent      map[session]time.Time // roster members no broker lists, since when without a break
	listed      map[string]listing    // by unit, the last one
	acked       map[string][]string   // by unit, the members that had acknowledged in the last look
	looked      bool                  // the last look succeeded
	folded      bool                  // the last attempt to take a unit back has read its log
	lastLook    time.Time             // when brokers last said who is connected
	marked      uint64                // the version that the logs of the units looked at are marked with
	steps       []msha.Step
	resumed     bool // another executor began
	interrupted bool // an attempt of the running step ended in the middle, as far as is known
	report      *Report
	started     time.Time
	fenced      time.Time   // when this executor first knew of the fence
	table       *msha.Table // the one that holds the fence
	deadline    time.Time   // of the fence; zero before it
	waiting     string      // last reason given to the observer
	committed   uint64      // a version of the table that holds the commit
	progressed  Progress    // last one told

	base   context.Context // of whoever asked for the run
	owned  context.Context // of an abort: it outlives base and ends once the order is another executor's
	disown context.CancelCauseFunc

	order   Order         // as the phases know it
	writing chan struct{} // held by who writes the order
	mu      sync.Mutex    // of the rest; nobody waits for a store with it
	forward context.CancelCauseFunc
	stored  Order          // as the document has it, beats included
	unsaved []func(*Order) // edits of order that stored does not have yet
}

func (e *Executor) newRun(order Order) *run {
	return &run{
		Executor: e, absent: map[session]time.Time{}, listed: map[string]listing{}, acked: map[string][]string{}, order: order, stored: order, writing: make(chan struct{}, 1),
	}
}

// execute works on an order this executor owns, from its next step on.
func (e *Executor) execute(ctx context.Context, order Order, steps []msha.Step, resumed bool) (*Report, error) {
	r := e.newRun(order)
	r.steps, r.started, r.report = steps, time.Now(), reportOf(&order)
	r.resumed, r.interrupted = resumed, resumed // nobody knows how far the step came
	r.base = ctx
	r.owned, r.disown = context.WithCancelCause(context.WithoutCancel(ctx))
	ctx = r.begin()
	r.tell(Event{Kind: EventBegun, Phase: order.Phase, Moved: r.report.Moved})
	stopBeat := r.beat()
	err := r.work(ctx)
	stopBeat()
	r.interrupt(nil)
	r.disown(nil)
	r.report.Duration = time.Since(r.started)
	r.report.State, r.report.Decisions = r.order.State, r.order.Decisions
	r.report.Overrides = overrides(&r.order)
	answer := r.report.Answer()
	r.tell(Event{Kind: EventDone, Report: &answer, Error: text(err)})
	e.o.Observer.Done(order.ID, r.report, err)
	return r.report, err
}

// work goes on where the order is.
func (r *run) work(ctx context.Context) error {
	switch {
	case r.order.State == StateAborting:
		return r.failed(ctx, r.order.Phase, errors.New(r.order.Error))
	case r.order.State == StateRunning && r.order.CalledOff != nil:
		return r.failed(ctx, r.order.Phase, ErrCalledOff)
	}
	return r.phases(ctx)
}

func reportOf(o *Order) *Report {
	return &Report{Task: o.ID, By: o.Plan.Request.By, Moved: moved(&o.Plan), Phases: slices.Clone(o.Results)}
}

// tell publishes an event of this order.
func (r *run) tell(e Event) {
	e.Task = r.order.ID
	r.o.Events.publish(e)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
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
		r.o.Observer.Phase(r.order.ID, step.Name)
		r.tell(Event{Kind: EventPhase, Phase: step.Name})
		if n := Number(step.Name); n > 0 {
			r.o.Logger.Info(fmt.Sprintf("Process MSHA route switch: task=%s, phase=%d", r.order.ID, n))
		}
		begun := time.Now()
		result, err := r.step(ctx, step)
		result.Phase, result.Duration = step.Name, time.Since(begun)
		answer := result.answer()
		r.tell(Event{Kind: EventPhaseEnded, Phase: step.Name, Result: &answer, Error: text(err)})
		if err != nil && (r.order.State != StateCommitted || ctx.Err() != nil) {
			return r.failed(ctx, step.Name, err)
		}
		if err != nil { // nothing can be undone any more: finish what was decided
			result.Note = err.Error()
			late = errors.Join(late, err)
		}
		if step.Name == Commit && !r.fenced.IsZero() {
			r.report.Pause = time.Since(r.fenced)
		}
		if err := r.ended(ctx, step, result); err != nil {
			return r.failed(ctx, step.Name, err)
		}
	}
	r.o.Logger.Info("Complete process MSHA route switch: task=" + r.order.ID)
	return late
}

// ended records a phase or step, so that no executor runs it again. That drain and confirm are over is written with the end of the phase
// after them, unless a user's step comes before: nobody has to know whether they ran once or twice.
func (r *run) ended(ctx context.Context, step msha.Step, result PhaseResult) error {
	r.report.Phases = append(r.report.Phases, result)
	r.interrupted = r.interrupted || result.Skipped == "" // if this cannot be saved, the step has to be undone all the same
	edit := func(o *Order) {
		o.Next++
		o.Results = append(o.Results, result)
		if o.Next < len(r.steps) {
			o.Phase = r.steps[o.Next].Name // in the same write: each one makes the pause longer
			o.Rechecks = o.Phase == Fence && step.Name != Check
		}
		if step.Name == Commit {
			o.State = StateCommitted
		}
		if o.Next == len(r.steps) {
			o.State = StateDone
		}
	}
	var err error
	if next := r.order.Next + 1; (step.Name == Drain || step.Name == Confirm) && Number(r.steps[next].Name) > 0 {
		r.note(edit)
	} else {
		err = r.saved(ctx, edit)
	}
	if err == nil {
		r.interrupted = false
		r.noteMoved(&r.order)
	}
	return err
}

func (r *run) step(ctx context.Context, step msha.Step) (result PhaseResult, err error) {
	if r.order.State == StateRunning {
		if err := r.trusted(); err != nil {
			return result, err
		}
	}
	switch step.Name {
	case Check:
		result.Note, err = r.check(ctx)
		return result, err
	case Fence:
		if err := r.recheck(ctx); err != nil {
			return result, err
		}
	case TakeOver:
		result.Note, err = r.takeOver(ctx)
		return result, err
	}
	users := Number(step.Name) == 0
	if users && (r.order.State != StateRunning || r.order.Next < index(r.steps, Fence)) {
		defer r.unseen()
		return r.user(ctx, step)
	}
	r.sight()
	// A passed deadline ends the phase, or the user's step, even if a call hangs.
	bounded, cancel := context.WithDeadlineCause(ctx, r.deadline, errDeadline)
	defer cancel()
	switch {
	case users:
		defer r.unseen()
		return r.user(bounded, step)
	case step.Name == Fence:
		if err := r.fence(bounded); err != nil {
			return result, err
		}
		if next := r.steps[r.order.Next+1]; Number(next.Name) == 0 && !r.order.Plan.Request.Forced {
			return result, r.mark(bounded, Fence) // who is gone now stays gone, however long the step takes
		}
		return result, nil
	case step.Name == Commit: // which looks at the table itself
		return result, r.commit(bounded)
	}
	if err := r.stillFenced(bounded, step.Name); err != nil {
		return result, err
	}
	switch step.Name {
	case Drain:
		if r.order.Plan.Request.Forced {
			result.Note, err = r.drainForced(bounded)
			return result, err
		}
		return result, r.drain(bounded)
	case Confirm:
		if r.order.Plan.Request.Forced {
			return result, nil
		}
		result.Note, err = r.confirm(bounded)
		return result, err
	}
	return result, r.handOver(bounded)
}

var errDeadline = errors.New("the deadline of the fence passed")

// recheck checks again where time passed since the check: users' steps lie between, or another executor made it. A fence that is there
// already is only found again.
func (r *run) recheck(ctx context.Context) error {
	if !r.resumed && !r.order.Rechecks {
		return nil
	}
	t, err := r.o.Tables.Current(ctx)
	if err != nil || locate(t, &r.order.Plan) != before {
		return err
	}
	_, hits, err := r.guard(ctx, &r.order.Plan)
	if err != nil {
		return err
	}
	r.record(hits)
	if _, err := r.check(ctx); err != nil || !r.order.Rechecks {
		return err
	}
	return r.saved(ctx, func(o *Order) { o.Rechecks = false })
}

// record adds what guards said, and was passed by, to the order.
func (r *run) record(hits []GuardHit) {
	for _, hit := range hits {
		if !slices.Contains(r.order.Overridden, hit) {
			r.note(func(o *Order) { o.Overridden = append(slices.Clone(o.Overridden), hit) })
		}
	}
}
