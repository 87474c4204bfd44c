package chaos

import "time"

// What a process has done is published every second. The margin is for the second's tick and the broker's answer on a busy machine: work
// that ended up to unpublished before a process was killed or frozen may be unknown to the others.
const (
	publishEvery = time.Second
	margin       = time.Second
	unpublished  = publishEvery + margin
)

// reconnect is how long after a broker is back an agent may take to publish what it could not while the broker was dead.
const reconnect = 5 * time.Second

// lapse is how long a thawed process may take to notice that its gate or its locks are not its own any more.
const lapse = 2 * time.Second

// excuse is a time in which a process's work may be repeated by others.
type excuse struct {
	from, until time.Time
	elsewhere   time.Time // from when on in another unit, which may not have got what the process had published
	frozen      bool
	fault       Fault
}

// excuses lists them by process. A killed process excuses what it had in flight, or had ended without publishing it; one that was killed
// with its site, to the unit that its routes went to, also what was published and not copied. A frozen one also excuses what it goes on
// with when it is thawed.
func (e *Evidence) excuses() map[string][]excuse {
	out := map[string][]excuse{}
	for _, f := range e.Faults {
		unit := unitOf(f.Target)
		x := excuse{from: e.published(unit, f.From), until: f.Gone, fault: f}
		x.elsewhere = x.from
		if f.Kind == KillSite && !f.Uncopied.IsZero() {
			x.elsewhere = e.published(unit, f.Uncopied)
		}
		agents := f.killed()
		if f.Kind == FreezeAgent {
			x.frozen, x.until, agents = true, f.Until.Add(lapse), []string{f.Target}
		}
		for _, agent := range agents {
			out[agent] = append(out[agent], x)
		}
	}
	return out
}

// published is up to when what a unit's process had done by a time was published for certain: what concerns a queue cannot be while the
// queue's broker is dead.
func (e *Evidence) published(unit string, at time.Time) time.Time {
	from := at.Add(-unpublished)
	for _, f := range e.Faults {
		if f.Kind != KillBroker || unitOfBroker(f.Target) != unit || f.From.After(at) || f.Until.Add(reconnect).Before(from) {
			continue
		}
		if before := f.From.Add(-unpublished); before.Before(from) {
			from = before
		}
	}
	return from
}

// covers says whether a repetition is accounted for: first is the run that counted, again the one that should not have been. Either first
// is work that its process could not tell of, or again is what a frozen process went on with.
func covers(all map[string][]excuse, first, again run) (excuse, bool) {
	for _, x := range all[first.process] {
		from := x.from
		if again.unit() != first.unit() {
			from = x.elsewhere
		}
		if !first.end.Before(from) && !first.start.After(x.until) {
			return x, true
		}
	}
	for _, x := range all[again.process] {
		if x.frozen && !again.end.Before(x.fault.From) && !again.start.After(x.until) {
			return x, true
		}
	}
	return excuse{}, false
}
