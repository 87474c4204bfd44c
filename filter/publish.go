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

// Publish is PublishLog for every log that there is something for.
func (t *Tracker) Publish() (out []LogRecords) {
	logs := map[string]bool{}
	for _, s := range t.queues {
		logs[s.log] = true
	}
	for log := range t.dirty {
		logs[log] = true
	}
	for _, log := range slices.Sorted(maps.Keys(logs)) {
		if part := t.PublishLog(log); len(part.Records) > 0 {
			out = append(out, part)
		}
	}
	return out
}

// PublishLog takes what was covered of the queues that one log speaks of, and how far the held ones were pulled, since the last call; give it back
// with Restore if it could not be written.
func (t *Tracker) PublishLog(log string) LogRecords {
	var rs []Record
	for q, s := range t.queues {
		if s.log != log {
			continue
		}
		t.fold(s)
		if s.next > t.reported[q] {
			t.reported[q] = s.next
			rs = append(rs, Record{Kind: Done, Group: t.group, Queue: q, Next: s.next})
		}
	}
	for tq, spans := range t.dirty[log] {
		for _, some := range spans.pieces(maxSpans) {
			rs = append(rs, Record{Kind: Done, Group: t.group, Set: tq.Set, Term: tq.Term, Queue: tq.queue, Spans: some})
		}
	}
	delete(t.dirty, log)
	slices.SortFunc(rs, func(a, b Record) int {
		if c := compareKeys(a.Key(), b.Key()); c != 0 {
			return c
		}
		return cmp.Or(compareQueues(a.Queue, b.Queue), compareSpans(a.Spans, b.Spans))
	})
	return LogRecords{log, rs}
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
