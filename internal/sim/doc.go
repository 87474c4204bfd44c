// Package sim runs the protocol of design sections 7 and 8 in a model of two or three units, thousands of times with different luck.
//
// What decides is production code: filter.Tracker and filter.Facts in every agent, filter.RemainingAfter in the manager, route.Fence,
// Reopen and Commit for the table, switchplan.Planner for the plans, and every record that goes through a log is encoded and
// decoded. What surrounds it is modelled: clusters of queues, logs, locks and consumer lists ([cluster]), pipes that copy them
// ([pipe]), a metastore ([store]), agents that do their input and output in the engine's order ([agent]), and a manager
// ([manager]).
//
// One goroutine runs all of it from one queue of events. Every delay and every fault is drawn from one seeded generator, so a seed
// reproduces a schedule exactly. The journal of handler runs ([journal]) is what the promises are checked against, at each
// event and again at the end; facts never are evidence of themselves.
//
// A [Mutation] leaves one step of the protocol out. The tests show that some schedule notices each of them, which is how one knows
// that the schedules are worth running.
package sim
