// Package filter decides which messages a unit may start, and keeps the facts the decision rests on. It is pure: no input or
// output, no clocks, no goroutines; equal inputs in equal order give equal results. Package consume feeds it, package switchplan
// hands its records to the next owner, and internal/sim checks it under thousands of schedules.
//
// # Words
//
//   - [Offsets] is a set of origin offsets of one origin queue, as sorted disjoint half-open [Span] values.
//   - [Record] is one fact. A body of the topic MSHA_PROGRESS holds one or more of them ([EncodeRecords], [DecodeLog]).
//   - [Facts] is the fold of a unit's fact logs, one log per broker. All facts of one origin queue are in one log, and the place in
//     that log is the only order there is: applying records twice, in pieces or behind a snapshot ([GroupFacts.Snapshot]) gives
//     the same answers.
//   - [Key] names the facts of a term: route set and term. Parts of a split set share the key of the set they came from until they
//     move ([KeyOf]).
//   - [Tracker] decides for one group in one agent: what may start ([Tracker.Start]), what must be read again ([Tracker.Pending]), what
//     must be published ([Tracker.Publish]).
//   - [RemainingAfter] computes what the next term has to process: the records of the hand-over phase. A hand-over counts once all
//     of its records are in the log; before that, nothing of the term starts.
//
// # Retry copies
//
// A failed message belongs to its retry copy from Open until the copy's number ends. The last Open in the log is the only one that
// counts. Its number ends with Done, with Close (the copy was not sent, or is about to be acknowledged unprocessed), or with a Void
// that Sent does not precede. A copy whose number is live runs, waits, or is refused, and refused means that Close is in the log before
// the copy is acknowledged: whoever holds the message's queue then finds it pending. All other copies are of the past.
//
// A committed consumer offset is a read position and never evidence: only the log is.
package filter
