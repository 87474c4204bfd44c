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
	// Unwanted says of a retry copy that this process does not subscribe its topic: it does not start here, but its message stays with the unit.
	Unwanted bool
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

// NoBaseline is the reason of a Wait that ends once it is known where the group begins in the message's queue. Where the group never runs in the
// queue's unit that is never.
const NoBaseline = "no baseline"

// InFlight is the reason of a retry copy's Wait that ends when its message, which runs here, does.
const InFlight = "in flight"

// Decision is the answer to Start.
type Decision struct {
	Verdict Verdict
	Reason  string  // for logs and counters
	Key     Key     // the term it runs under
	Close   *Record // Refuse: to be written first
}

// Start is the start rule of design section 7; a message that may run is registered as in flight in the same step.
func (t *Tracker) Start(m Message) Decision {
	d := t.decide(&m)
	if d.Verdict != Run || m.Legacy {
		return d
	}
	f := flight{d.Key, m.Value, m.Unit, t.table.Version}
	if s := t.state(m.Origin.OriginQueue); s != nil && m.Retry == "" {
		p := s.messages.note(m.Origin.Offset)
		p.running, p.flight = true, f
	} else {
		t.running[m.Origin] = f
	}
	return d
}

func (t *Tracker) decide(m *Message) Decision {
	switch {
	case m.Legacy:
		return Decision{Verdict: Run, Reason: "legacy retry"}
	case t.table == nil:
		return Decision{Verdict: Wait, Reason: "no table"}
	case m.Retry != "":
		return t.decideRetry(m)
	}
	set := t.table.Set(m.Value, m.Unit)
	switch {
	case set == nil:
		return Decision{Verdict: Skip, Reason: "no route"}
	case set.Owner != t.unit:
		return Decision{Verdict: Skip, Reason: "other unit"}
	case set.State == msha.SetFenced:
		return Decision{Verdict: Skip, Reason: "fenced"}
	}
	key := KeyOf(*set)
	q := t.state(m.Origin.OriginQueue)
	if q == nil {
		return Decision{Verdict: Wait, Reason: "queue given up"}
	}
	facts := t.term(q, key, set.RemainingHash)
	switch off := m.Origin.Offset; {
	case !facts.handed && t.caughtUp < t.table.Version:
		return Decision{Verdict: Wait, Reason: "hand-over not read"}
	case !facts.handed:
		return Decision{Verdict: Wait, Reason: MissingHandOver, Key: key}
	case !facts.known:
		return Decision{Verdict: Wait, Reason: NoBaseline}
	case !facts.remaining.Contains(off):
		return Decision{Verdict: Skip, Reason: "not in remaining"}
	case facts.done != nil && facts.done.Contains(off), q.left.Contains(off) && !q.keeps(key, off):
		return Decision{Verdict: Skip, Reason: "done"}
	case t.runs(q, m.Origin):
		return Decision{Verdict: Skip, Reason: InFlight}
	case t.awaits(key, m.Origin):
		return Decision{Verdict: Skip, Reason: "waits for its retry"}
	}
	return Decision{Verdict: Run, Key: key}
}

// runs tells whether a message is in flight here.
func (t *Tracker) runs(s *queueState, o msha.Origin) bool {
	if s != nil {
		if p := s.messages.find(o.Offset); p != nil && p.running {
			return true
		}
	}
	if len(t.running) == 0 {
		return false
	}
	_, running := t.running[o]
	return running
}

// awaits tells whether a message is on its way to the retry topic, or in it.
func (t *Tracker) awaits(k Key, o msha.Origin) bool {
	if len(t.waiting) > 0 {
		if _, waiting := t.waiting[o]; waiting {
			return true
		}
	}
	return len(t.mine.retries) > 0 && t.mine.open(k, o) != nil
}

// decideRetry decides about a retry copy. While its number is live it is all that will ever bring the message back: it runs, waits, or its
// number is closed before it is acknowledged. Which number is live does not depend on the table, which may be older or newer than
// the term of the Open.
func (t *Tracker) decideRetry(m *Message) Decision {
	a := t.mine.numbers[m.Retry]
	switch {
	case a == nil && t.isDone(t.keyOf(m), m.Origin):
		return Decision{Verdict: Skip, Reason: "done"} // its number is forgotten
	case (a == nil || a.open.Kind != Open) && !m.Fresh:
		return Decision{Verdict: Wait, Reason: "open record not read"}
	case a == nil || !t.mine.live(a):
		return Decision{Verdict: Skip, Reason: "retry copy of the past"}
	}
	key := a.open.Key()
	set, ok := t.table.Lookup(m.Value, m.Unit)
	if m.Unwanted || !ok || set.Owner != t.unit || set.State != msha.SetOpen || KeyOf(set) != key {
		r := CloseOf(a.open)
		r.Client, r.Writer = t.client, t.writer
		return Decision{Verdict: Refuse, Reason: "not to be started here", Key: key, Close: &r}
	}
	if t.isDone(key, m.Origin) {
		return Decision{Verdict: Skip, Reason: "done"} // what ran here has just ended
	}
	if t.runs(t.state(m.Origin.OriginQueue), m.Origin) {
		// What runs decides about the message. But should this process die before, the copy has to be there still.
		return Decision{Verdict: Wait, Reason: InFlight}
	}
	if !a.sent() {
		return Decision{Verdict: Wait, Reason: "sent record not read"}
	}
	return Decision{Verdict: Run, Key: key}
}
