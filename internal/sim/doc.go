// Package sim runs the protocol of design sections 7 and 8 in a model of two or three units, thousands of times with different luck.
//
// What decides is production code: filter.Tracker and filter.Facts in every agent, filter.RemainingAfter in the manager, route.Fence,
// Reopen and Commit for the table, switchplan.Planner for the plans, parting.Resume and parting.Search where copying goes on, msha.Incarnations
// and msha.Raise for identities; and every record that goes through a log is encoded and decoded. What surrounds it is modelled: clusters
// of queues, logs, locks and consumer lists ([cluster]), pipes that copy them ([pipe]), a metastore ([store]), agents that do their input and
// output in the engine's order ([agent]), and managers that take orders over from each other ([manager], [order]).
//
// A broker may die and come back without what it had stored last ([loss]): all its queues and logs end at one moment, as one file in the order of
// time does. What was lost is in the journal, by message and not by offset: a message that no other cluster had is owed to nobody, one that was
// copied is owed where its copy is. What may repeat are handlers whose facts were lost with the tail, and messages that were stored over lost ones
// before everybody knew of the loss. Three losses are left out, because nothing is left that tells of them: of a hand-over or a baseline (people mend
// that: ErrMissingFacts), of the same message at both ends, and of a tail that is older than a committed offset.
//
// A manager may die or freeze at any point of a switch. Another one takes the order over once nobody works on it; the first may wake up later, in
// the middle of what it was doing. A fence whose order has ended is reopened after its deadline.
//
// Of design section 10 it checks invariants 1, 2, 5, 6, 8 and 9 at each start of a handler ([journal]), 4 at each hand-over and rejoin, 3, 7 and 11
// by waiting for rest, 10 for each incarnation at the end, and 12 by what is processed while the metastore is down.
//
// One goroutine runs all of it from one queue of events. Every delay and every fault is drawn from one seeded generator, so a seed
// reproduces a schedule exactly. The journal of handler runs ([journal]) is what the promises are checked against, at each
// event and again at the end; facts never are evidence of themselves.
//
// A [Mutation] leaves one step of the protocol out. The tests show that some schedule notices each of them, which is how one knows
// that the schedules are worth running.
package sim
