// Package filter decides which messages a unit may start, and keeps the facts the decision rests on. It is pure: no input or
// output, no clocks, no goroutines; equal inputs in equal order give equal results. Package consume feeds it, package switchplan
// hands its records to the next owner, and internal/sim checks it under thousands of schedules.
//
// # Words
//
//   - [Offsets] is a set of origin offsets of one origin queue, as sorted disjoint half-open [Span] values.
//   - [Record] is one fact. A body of the topic MSHA_PROGRESS holds one or more of them ([EncodeRecords]).
//   - [Facts] is the fold of a unit's fact logs, one log per broker. Order counts only within one log.
//   - [Key] names the facts of a term: route set and term. Parts of a split set share the key of the set they came from until they
//     move ([KeyOf]).
//   - [Decide] is the start rule; [Pending] says what a term still has to process below the pull position.
//   - [Tracker] combines these for one group in one agent: what was pulled, what is in flight, what must be published.
//   - [RemainingAfter] computes what the next term has to process: the records of the hand-over phase.
//
// A committed consumer offset is a read position and never evidence: only the log is.
package filter
