// Package switchplan moves routing values from one unit to another in seven phases.
//
// A [Planner] turns a request into a plan; it is pure. An [Executor] runs the plan under a work order kept in the metastore, so
// that another process can finish what a dead one began:
//
//	plan, err := planner.Plan(ctx, msha.SwitchRequest{Values: []string{"guangzhou"}, To: "unit-1"}, view)
//	err = switchplan.InsertBefore(plan, switchplan.Fence, switchplan.Approval("approve", time.Hour))
//	err = switchplan.InsertAfter(plan, switchplan.Drain, msha.Step{Name: "freeze-db", Do: freeze, Undo: unfreeze, Attempts: 3})
//	forecast, err := executor.DryRun(ctx, plan) // changes nothing
//	report, err := executor.Run(ctx, plan)
//
// Nothing is decided before phase 6: until the commit a failure reopens the routes where they were, under the same term.
//
// # Steps
//
// A step between two phases is code (msha.Step.Do) or an [Approval]. Its Timeout bounds each attempt; Attempts and Pause repeat what failed, but
// never beside an attempt that still runs; Skip decides that it is not needed; SkipOnError lets the switch go on without it. The report says
// what was skipped and why, and how many attempts were made. A step before Fence holds nothing up, however long it takes; guards and
// check are asked again behind it. A step between Fence and Commit is part of the pause, and the fence's deadline ends it, whatever its own
// settings.
//
// If a switch is aborted, steps are undone in reverse order: first those behind the fence, while the routes are still fenced, because the old
// owner may need what they took away; then the routes reopen; then those before the fence. The routes wait for a compensation until its Timeout,
// and reopen without it then: the error of the switch says what has to be undone by hand. A step that failed by itself, or was skipped, is not undone;
// one that ran out of time, or whose manager died while it ran, is, because it may have had an effect. Each is undone once, but one whose
// compensation was interrupted, or not written down, is undone again by whoever ends the abort: compensations must be repeatable. Nothing is undone as
// long as a commit is possible, so without the metastore nothing is. Behind the commit nothing is undone: a step that fails there is reported,
// and the switch is finished.
//
// # Calling a switch off
//
// [Executor.Abort] ends a switch that has not committed in this way, whichever process works on it. A forced switch does the same to planned ones
// of its routes that have not fenced them: it does not wait for them, nor for their compensations.
//
// # Plans as data
//
// [EncodePlan] and [DecodePlan] keep plans as JSON. Code is not data: a step is found by its name in Options.Steps, of every process that may
// have to run it.
//
// # Forced switches
//
// A request with Forced takes routes from units that are not asked. What remains is computed from what the gaining units have of their logs;
// what the losing units had not copied is held back until they rejoin ([Executor.Rejoin]), which a manager does by itself. Where processes are in
// Strict mode the switch waits until their gates have closed.
//
// # Guards
//
// A guard refuses a switch that is possible but unwise ([Guards]): nothing has changed then, and the error is msha.ErrGuard. A request
// overrides it by name; order and report say so, what the guard had said, and who asked.
//
// # Watching
//
// A [Stream] in Options.Events gives typed events to any number of readers, of which none can slow a switch down.
package switchplan
