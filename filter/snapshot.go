package filter

import (
	"cmp"
	"maps"
	"slices"

	"github.com/go-msha/msha"
)

// maxSnapshot is how large the records of one snapshot chunk may be: well below 4 MB, the largest message brokers accept.
const maxSnapshot = 3 << 20

// Snapshot gives the group's facts of one log as Snapshot records, one per body: together they replace the log's records of the group
// up to and including logOffset. The log must be applied up to there. What was applied beyond, or done by this process and not yet
// published, may be in it too: it is true, and applying it again changes nothing.
//
// Of a message that is not Done the last Open is kept, live or ended: it counts the attempts. Copies with numbers that a reader of the
// snapshot does not find are of the past.
//
// Terms that are past are left out; nil: none is.
func (g *GroupFacts) Snapshot(log string, logOffset int64, past func(Key) bool) []Record {
	if past == nil {
		past = func(Key) bool { return false }
	}
	var out []Record
	for _, rs := range cut(g.records(log, past), maxSnapshot) {
		out = append(out, Record{Kind: Snapshot, Group: g.name, LogOffset: logOffset, Chunk: len(out), Records: rs})
	}
	for i := range out {
		out[i].Chunks = len(out)
	}
	return out
}

// Past tells, by a table, of which terms the facts matter to nobody any more: a later one has begun with what they had left, and no unit that
// was away in them is still to rejoin. An older table knows fewer of them, but never another one.
func Past(t *msha.Table) func(Key) bool {
	needed, newest := map[Key]bool{}, map[string]uint64{}
	for _, set := range t.Sets {
		k := KeyOf(set)
		needed[k] = true
		newest[k.Set] = max(newest[k.Set], k.Term)
		for _, lost := range set.Forced {
			needed[Key{lost.Set, lost.Term}] = true
		}
	}
	return func(k Key) bool { return k.Term < newest[k.Set] && !needed[k] }
}

// records lists the facts of one log in a stable order.
func (g *GroupFacts) records(log string, past func(Key) bool) []Record {
	var rs []Record
	for name, h := range g.handed {
		if !past(name.Key) {
			rs = append(rs, h.recordsOf(name, g.name)...)
		}
	}
	for _, q := range slices.SortedFunc(maps.Keys(g.logs), compareQueues) {
		if g.logs[q] != log {
			continue
		}
		if s, ok := g.baseline[q]; ok {
			rs = append(rs, Record{Kind: Baseline, Group: g.name, Queue: q, Offset: s.offset, LogOffset: s.at})
		}
		if s, ok := g.begun.of(q); ok {
			n, _ := g.Begun(q.Unit, q.Broker, q.Topic)
			rs = append(rs, Record{Kind: Baseline, Group: g.name, Queue: q, Offset: s.offset, LogOffset: s.at, Local: LocalQueue{Topic: q.Topic, Broker: q.Broker, ID: n}})
		}
		if next := g.next[q]; next > 0 {
			rs = append(rs, Record{Kind: Done, Group: g.name, Queue: q, Next: next})
		}
	}
	rs = append(rs, g.begun.recordsOf(g.name, log)...)
	for q, next := range g.read {
		if q.Broker == log {
			rs = append(rs, Record{Kind: Done, Group: g.name, Local: q, Next: next})
		}
	}
	for tq, done := range g.done {
		if g.logs[tq.queue] != log || past(tq.Key) {
			continue
		}
		for _, spans := range done.pieces(maxSpans) {
			rs = append(rs, Record{Kind: Done, Group: g.name, Set: tq.Set, Term: tq.Term, Queue: tq.queue, Spans: spans.Clone()})
		}
	}
	for tq, byOffset := range g.retries {
		if g.logs[tq.queue] != log || past(tq.Key) {
			continue
		}
		for _, h := range byOffset {
			if h.last != nil {
				rs = append(rs, h.last.records()...)
			}
		}
	}
	for _, h := range g.holders {
		if _, released := h.releases[h.hold.Writer]; h.hold.Local.Broker == log && !released {
			rs = append(rs, h.hold)
		}
	}
	slices.SortStableFunc(rs, compareRecords)
	return rs
}

// recordsOf gives one group's part of a hand-over, with the record that says how many there are.
func (h *handed) recordsOf(name handover, group string) []Record {
	var rs []Record
	if h.records > 0 {
		rs = append(rs, Record{Kind: Baseline, Set: name.Set, Term: name.Term, Hash: name.hash, Chunks: h.records})
	}
	for unit := range h.held {
		rs = append(rs, Record{Kind: Baseline, Set: name.Set, Term: name.Term, Hash: name.hash, Queue: msha.OriginQueue{Unit: unit}})
	}
	for p, spans := range h.parts {
		if p.group == group {
			rs = append(rs, Record{Kind: Baseline, Group: group, Set: name.Set, Term: name.Term, Hash: name.hash, Queue: p.queue, Chunk: p.chunk, Spans: spans, Next: h.pulled[p.groupQueue], Offset: h.limits[p.groupQueue]})
		}
	}
	return rs
}

func (a *attempt) records() []Record {
	at := func(r Record, offset int64) Record {
		r.LogOffset = offset
		return r
	}
	rs := []Record{a.open}
	if a.sent() {
		rs = append(rs, at(SentOf(a.open), a.sentAt))
	}
	if a.voidAt >= 0 {
		rs = append(rs, at(VoidOf(a.open), a.voidAt))
	}
	if a.closed {
		rs = append(rs, CloseOf(a.open))
	}
	return rs
}

func compareRecords(a, b Record) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), compareKeys(a.Key(), b.Key()), cmp.Compare(a.Hash, b.Hash), cmp.Compare(a.Group, b.Group),
		compareQueues(a.Queue, b.Queue), compareLocal(a.Local, b.Local), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Chunk, b.Chunk),
		compareSpans(a.Spans, b.Spans), cmp.Compare(a.Next, b.Next))
}
