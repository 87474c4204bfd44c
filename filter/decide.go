package filter

import (
	"github.com/go-msha/msha"
)

// Message is what decides about a message.
type Message struct {
	Origin msha.Origin
	Value  string // MSHA_ROUTE
	Unit   string // MSHA_UNIT: where it was produced
	Retry  string // number of the retry copy; "": not a retry copy
	Legacy bool   // a retry copy without resolvable origin: it runs where it lies
	Fresh  bool   // the log was read to its end after this message was pulled
}

// Verdict says what to do with a message.
type Verdict int

// The verdicts.
const (
	Run    Verdict = iota // start it; it is registered as in flight
	Skip                  // acknowledge it without processing
	Refuse                // a retry copy that must not run: write Close, then acknowledge it
	Wait                  // nothing can be decided before the log is read further: look again then
)

// MissingHandOver is the reason of a Wait that will not end by itself: the table names a hand-over that the unit's log, read to its end,
// does not hold completely. It is to be reported as ErrMissingFacts: the log lost records.
const MissingHandOver = "hand-over missing"

// Decision is the answer to Start.
type Decision struct {
	Verdict Verdict
	Reason  string // for logs and counters
	Key     Key    // the term it runs under
	Close   Record // Refuse: to be written first
}

// Start is the start rule of design section 7; a message that may run is registered as in flight in the same step.
func (t *Tracker) Start(m Message) Decision {
	d := t.decide(m)
	if d.Verdict == Run && !m.Legacy {
		t.running[m.Origin] = flight{d.Key, m.Value, m.Unit}
	}
	return d
}

func (t *Tracker) decide(m Message) Decision {
	switch {
	case m.Legacy:
		return Decision{Verdict: Run, Reason: "legacy retry"}
	case t.table == nil:
		return Decision{Verdict: Wait, Reason: "no table"}
	case m.Retry != "":
		return t.decideRetry(m)
	}
	set, ok := t.table.Lookup(m.Value, m.Unit)
	switch {
	case !ok:
		return Decision{Verdict: Skip, Reason: "no route"}
	case set.Owner != t.unit:
		return Decision{Verdict: Skip, Reason: "other unit"}
	case set.State == msha.SetFenced:
		return Decision{Verdict: Skip, Reason: "fenced"}
	}
	key := KeyOf(set)
	if !t.mine.HandedOver(key, set.RemainingHash) {
		if t.caughtUp < t.table.Version {
			return Decision{Verdict: Wait, Reason: "hand-over not read"}
		}
		return Decision{Verdict: Wait, Reason: MissingHandOver, Key: key}
	}
	remaining, known := t.mine.Remaining(key, set.RemainingHash, m.Origin.OriginQueue)
	_, running := t.running[m.Origin]
	_, waiting := t.waiting[m.Origin]
	switch {
	case !known:
		return Decision{Verdict: Wait, Reason: "no baseline"}
	case !remaining.Contains(m.Origin.Offset):
		return Decision{Verdict: Skip, Reason: "not in remaining"}
	case t.mine.Done(key, m.Origin.OriginQueue).Contains(m.Origin.Offset):
		return Decision{Verdict: Skip, Reason: "done"}
	case running:
		return Decision{Verdict: Skip, Reason: "in flight"}
	case waiting || t.mine.open(key, m.Origin) != nil:
		return Decision{Verdict: Skip, Reason: "waits for its retry"}
	}
	return Decision{Verdict: Run, Key: key}
}

// decideRetry decides about a retry copy. While its number is live it is all that will ever bring the message back: it runs, waits, or its
// number is closed before it is acknowledged. Which number is live does not depend on the table, which may be older or newer than
// the term of the Open.
func (t *Tracker) decideRetry(m Message) Decision {
	a := t.mine.numbers[m.Retry]
	switch {
	case a == nil && t.mine.Done(t.keyOf(m), m.Origin.OriginQueue).Contains(m.Origin.Offset):
		return Decision{Verdict: Skip, Reason: "done"} // its number is forgotten
	case (a == nil || a.open.Kind != Open) && !m.Fresh:
		return Decision{Verdict: Wait, Reason: "open record not read"}
	case a == nil || !t.mine.live(a):
		return Decision{Verdict: Skip, Reason: "retry copy of the past"}
	}
	key := a.open.Key()
	set, ok := t.table.Lookup(m.Value, m.Unit)
	if !ok || set.Owner != t.unit || set.State != msha.SetOpen || KeyOf(set) != key {
		r := CloseOf(a.open)
		r.Client, r.Writer = t.client, t.writer
		return Decision{Verdict: Refuse, Reason: "not to be started here", Key: key, Close: r}
	}
	if _, running := t.running[m.Origin]; running {
		// What runs decides about the message. But should this process die before, the copy has to be there still.
		return Decision{Verdict: Wait, Reason: "in flight"}
	}
	if !a.sent() {
		return Decision{Verdict: Wait, Reason: "sent record not read"}
	}
	return Decision{Verdict: Run, Key: key}
}
