// Package switchplan moves routing values from one unit to another in seven phases.
//
// A [Planner] turns a request into a plan; it is pure. An [Executor] runs the plan under a work order kept in the metastore, so
// that another process can finish what a dead one began:
//
//	plan, err := planner.Plan(ctx, msha.SwitchRequest{Values: []string{"guangzhou"}, To: "unit-1"}, view)
//	err = switchplan.InsertAfter(plan, switchplan.Drain, msha.Step{Name: "freeze-db", Do: freeze, Undo: unfreeze})
//	report, err := executor.Run(ctx, plan)
//
// Nothing is decided before phase 6: until the commit a failure reopens the routes where they were, under the same term.
package switchplan
