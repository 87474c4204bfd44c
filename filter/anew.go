package filter

import (
	"maps"
	"slices"

	"github.com/go-msha/msha"
)

// Remember puts what this generation has done, and how far it has pulled, into the next publication once more: a log has lost its tail.
func (t *Tracker) Remember(log string) {
	t.foldAll()
	for q, s := range t.queues {
		if s.log != log {
			continue
		}
		delete(t.reported, q)
		for k, done := range s.done {
			for _, span := range *done {
				t.cover(log, k, q, span.From, span.To)
			}
		}
	}
}

// Anew is the tracker of the same process without table and facts, for a log that has lost records which are in the facts: they are not what
// others read. Nothing may be held or in flight, and all is published.
func (t *Tracker) Anew() *Tracker {
	out := NewTracker(t.unit, t.group, t.client, t.writer)
	out.numbers = t.numbers
	return out
}

// Waiting is what has failed here, and waits for the log to be read up to what ended or sent it.
func (t *Tracker) Waiting() map[msha.Origin]Record {
	out := maps.Clone(t.waiting)
	maps.DeleteFunc(out, func(o msha.Origin, _ Record) bool { return t.runs(t.state(o.OriginQueue), o) })
	return out
}

// Unsent lists what ends this process's own Opens of one log that nothing will send or end any more, because the log lost it: those in the facts
// that this process does not wait for, and those that it has waited for since before the log was read to its end.
func (t *Tracker) Unsent(log string, waited map[msha.Origin]Record) (out []Record) {
	for o, open := range waited {
		if of := t.logOf(o.OriginQueue); t.waiting[o].Number == open.Number && (of == log || of == "") {
			out = append(out, VoidOf(open))
		}
	}
	for tq, byOffset := range t.mine.retries {
		if t.logOf(tq.queue) != log {
			continue
		}
		for off := range byOffset {
			o := msha.Origin{OriginQueue: tq.queue, Offset: off}
			a := t.mine.open(tq.Key, o)
			if a == nil || a.sent() || a.open.Writer != t.writer || t.runs(t.state(tq.queue), o) {
				continue
			}
			if _, waits := t.waiting[o]; !waits {
				out = append(out, VoidOf(a.open))
			}
		}
	}
	slices.SortFunc(out, compareRecords)
	return out
}

// logOf is which log speaks of a queue, as far as it is known.
func (t *Tracker) logOf(q msha.OriginQueue) string {
	if s := t.state(q); s != nil {
		return s.log
	}
	return t.mine.logs[q]
}
