package filter

import (
	"cmp"
	"maps"
	"slices"
)

// LogRecords are records for the log of one broker.
type LogRecords struct {
	Log     string
	Records []Record
}

// Publish takes what was covered, and how far the held queues were pulled, since the last call; give it back with Restore if it could
// not be written.
func (t *Tracker) Publish() []LogRecords {
	t.foldAll()
	logs := map[string][]Record{}
	for q, s := range t.queues {
		if s.next > t.reported[q] {
			t.reported[q] = s.next
			logs[s.log] = append(logs[s.log], Record{Kind: Done, Group: t.group, Queue: q, Next: s.next})
		}
	}
	for log, byTerm := range t.dirty {
		for tq, spans := range byTerm {
			for _, some := range spans.pieces(maxSpans) {
				logs[log] = append(logs[log], Record{Kind: Done, Group: t.group, Set: tq.Set, Term: tq.Term, Queue: tq.queue, Spans: some})
			}
		}
	}
	clear(t.dirty)
	var out []LogRecords
	for _, log := range slices.Sorted(maps.Keys(logs)) {
		slices.SortFunc(logs[log], func(a, b Record) int {
			if c := compareKeys(a.Key(), b.Key()); c != 0 {
				return c
			}
			return cmp.Or(compareQueues(a.Queue, b.Queue), compareSpans(a.Spans, b.Spans))
		})
		out = append(out, LogRecords{log, logs[log]})
	}
	return out
}

// Restore puts records of a failed Publish back.
func (t *Tracker) Restore(l LogRecords) {
	for _, r := range l.Records {
		if r.Set == "" {
			delete(t.reported, r.Queue)
			continue
		}
		for _, s := range r.Spans {
			t.cover(l.Log, r.Key(), r.Queue, s.From, s.To)
		}
	}
}
