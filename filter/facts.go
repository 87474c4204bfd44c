package filter

import (
	"maps"
	"slices"

	"github.com/go-msha/msha"
)

// Facts is the fold of one unit's fact logs. What it says does not depend on the order in which records are applied, nor on how
// often: where order matters, Record.LogOffset decides. So a snapshot may be applied before or after the records it reflects. Not
// safe for concurrent use.
type Facts struct {
	groups  map[string]*GroupFacts
	acks    map[string]map[string]uint64 // client -> log -> highest version
	handed  handedOver
	writers map[logClient]process
}

// NewFacts is the fold of nothing.
func NewFacts() *Facts {
	return &Facts{groups: map[string]*GroupFacts{}, acks: map[string]map[string]uint64{}, handed: handedOver{}, writers: map[logClient]process{}}
}

type logClient struct{ log, client string }

// process is the one that wrote last under a client's name.
type process struct {
	writer string
	at     int64
}

// replaced tells whether a record's writer was followed by another process of the same name.
func (f *Facts) replaced(log string, r Record) bool {
	last := f.writers[logClient{log, r.Client}]
	return last.at > r.LogOffset && last.writer != r.Writer
}

// Group returns the facts of one group, empty ones if the log does not mention it.
func (f *Facts) Group(name string) *GroupFacts {
	g := f.groups[name]
	if g == nil {
		g = newGroupFacts(name, f.handed)
		f.groups[name] = g
	}
	return g
}

// Groups lists the groups the log mentions, sorted.
func (f *Facts) Groups() []string { return slices.Sorted(maps.Keys(f.groups)) }

// Apply folds one record of the log of one broker.
func (f *Facts) Apply(log string, r Record) {
	if by := (logClient{log, r.Client}); (r.Kind == Ack || r.Kind == Hold) && r.LogOffset >= f.writers[by].at {
		f.writers[by] = process{r.Writer, r.LogOffset}
	}
	switch {
	case r.Kind == Ack:
		if f.acks[r.Client] == nil {
			f.acks[r.Client] = map[string]uint64{}
		}
		f.acks[r.Client][log] = max(f.acks[r.Client][log], r.Version)
	case r.Kind == Baseline && r.Set != "":
		f.ApplyHandOver(r)
	case r.Kind == Snapshot:
		for _, inner := range r.Records {
			f.Apply(log, inner)
		}
	default:
		f.Group(r.Group).apply(log, r)
	}
}

// ApplyCopy folds a record of another unit's log: only where a group starts in that unit's queues counts.
func (f *Facts) ApplyCopy(r Record) {
	switch {
	case r.Kind == Baseline && r.Set == "":
		f.Group(r.Group).applyBaseline(r, false)
	case r.Kind == Snapshot:
		for _, inner := range r.Records {
			f.ApplyCopy(inner)
		}
	}
}

// ApplyHandOver folds the hand-overs in a record of another unit's log, or of a copy of it: they are written to the losing unit's log too.
func (f *Facts) ApplyHandOver(r Record) {
	switch {
	case r.Kind == Baseline && r.Set != "":
		f.handed.apply(r)
		if r.Group != "" {
			f.Group(r.Group)
		}
	case r.Kind == Snapshot:
		for _, inner := range r.Records {
			f.ApplyHandOver(inner)
		}
	}
}

// Acked is for each client the highest version it acknowledged in every one of the logs.
func (f *Facts) Acked(logs []string) map[string]uint64 {
	out := map[string]uint64{}
	for client, byLog := range f.acks {
		for i, log := range logs {
			if v := byLog[log]; i == 0 || v < out[client] {
				out[client] = v
			}
		}
	}
	return out
}

type termQueue struct {
	Key
	queue msha.OriginQueue
}

type start struct{ offset, at int64 }

// GroupFacts is what a unit recorded about one group.
type GroupFacts struct {
	name     string
	handed   handedOver // of all groups
	baseline map[msha.OriginQueue]start
	begun    beginnings
	next     map[msha.OriginQueue]int64
	read     map[LocalQueue]int64 // the same in offsets of the unit's own queues, where these are not the origin's
	done     map[termQueue]*Offsets
	retries  map[termQueue]map[int64]*retries // of messages that are not Done
	numbers  map[string]*attempt              // the same, by number
	holders  map[LocalQueue]*holder
	logs     map[msha.OriginQueue]string // which log speaks of a queue
}

func newGroupFacts(name string, handed handedOver) *GroupFacts {
	return &GroupFacts{
		name: name, handed: handed, baseline: map[msha.OriginQueue]start{}, begun: newBeginnings(), next: map[msha.OriginQueue]int64{}, read: map[LocalQueue]int64{}, done: map[termQueue]*Offsets{},
		retries: map[termQueue]map[int64]*retries{}, numbers: map[string]*attempt{}, holders: map[LocalQueue]*holder{}, logs: map[msha.OriginQueue]string{},
	}
}

func (g *GroupFacts) apply(log string, r Record) {
	if r.Queue.Topic != "" {
		g.logs[r.Queue] = log
	}
	switch r.Kind {
	case Baseline:
		g.applyBaseline(r, true)
	case Done:
		if r.Local != (LocalQueue{}) {
			g.read[r.Local] = max(g.read[r.Local], r.Next)
			return
		}
		g.next[r.Queue] = max(g.next[r.Queue], r.Next)
		if r.Set != "" {
			for _, s := range r.Spans {
				g.cover(r.Key(), r.Queue, s.From, s.To)
			}
		}
	case Open, Sent, Close, Void:
		g.applyAttempt(r)
	case Hold, Release:
		h := g.holders[r.Local]
		if h == nil {
			h = &holder{releases: map[string]int64{}}
			g.holders[r.Local] = h
		}
		h.apply(r)
	}
}

func (g *GroupFacts) applyBaseline(r Record, own bool) {
	if r.Local != (LocalQueue{}) {
		g.begun.apply(r, own)
		return
	}
	if s, known := g.baseline[r.Queue]; !known || r.LogOffset < s.at {
		g.baseline[r.Queue] = start{r.Offset, r.LogOffset}
	}
}

// cover adds [from, to) to the Done of a term.
func (g *GroupFacts) cover(k Key, q msha.OriginQueue, from, to int64) {
	tq := termQueue{k, q}
	if g.done[tq] == nil {
		g.done[tq] = &Offsets{}
	}
	g.done[tq].Add(from, to)
	g.forgetRetries(tq, from, to)
}

// Baseline is where the group starts in an origin queue: the first record in the log counts.
func (g *GroupFacts) Baseline(q msha.OriginQueue) (int64, bool) {
	alone, ok := g.baseline[q]
	if s, begun := g.begun.of(q); begun && (!ok || s.at < alone.at) {
		return s.offset, true
	}
	return alone.offset, ok
}

// Next is the highest pull position published for an origin queue.
func (g *GroupFacts) Next(q msha.OriginQueue) int64 { return g.next[q] }

// Read is the highest pull position published for a replica or retry queue, in its own offsets.
func (g *GroupFacts) Read(q LocalQueue) (int64, bool) {
	next, ok := g.read[q]
	return next, ok
}

// Done is the coverage of a term.
func (g *GroupFacts) Done(k Key, q msha.OriginQueue) Offsets {
	if d := g.done[termQueue{k, q}]; d != nil {
		return *d
	}
	return nil
}

// Remaining is what a term has to process of an origin queue: what was handed over to it, or everything from the baseline on for a
// queue the hand-over does not mention, as in a first term. A group that has a baseline in a queue starts each later incarnation of it at
// the beginning: all of that was stored later. Of a unit that has not rejoined, nothing else than what was handed over. ok is false if it
// cannot be known yet.
func (g *GroupFacts) Remaining(k Key, hash string, q msha.OriginQueue) (o Offsets, ok bool) {
	if !g.HandedOver(k, hash) {
		return nil, false
	}
	if spans, mentioned := g.handed.spans(k, hash, g.name, q); mentioned {
		return spans, true
	}
	if g.heldBack(handover{k, hash}, q) {
		return nil, true
	}
	if offset, ok := g.Baseline(q); ok {
		return From(offset), true
	}
	_, ok = g.Baseline(q.First())
	return From(0), ok
}

// Queues lists the origin queues the facts mention, sorted.
func (g *GroupFacts) Queues() []msha.OriginQueue {
	set := map[msha.OriginQueue]bool{}
	for q := range g.baseline {
		set[q] = true
	}
	for q := range g.begun.queues {
		if _, ok := g.begun.of(q); ok {
			set[q] = true
		}
	}
	for tq := range g.done {
		set[tq.queue] = true
	}
	for _, h := range g.handed {
		for gq := range h.spans {
			if gq.group == g.name {
				set[gq.queue] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(set), compareQueues)
}

// holder is who holds a local queue: whose Hold is the last in the log, unless his Release follows it. A Release of somebody else, who
// lost the queue long ago and only now noticed, changes nothing.
type holder struct {
	hold     Record
	releases map[string]int64 // writer -> last Release, if it is behind the hold
}

func (h *holder) apply(r Record) {
	switch {
	case r.LogOffset < h.hold.LogOffset:
	case r.Kind == Release:
		h.releases[r.Writer] = max(h.releases[r.Writer], r.LogOffset)
	default:
		h.hold = r
		maps.DeleteFunc(h.releases, func(_ string, at int64) bool { return at <= r.LogOffset })
	}
}

// HeldBy lists the queues whose unreleased Hold is a process's.
func (g *GroupFacts) HeldBy(writer string) (queues []LocalQueue) {
	for q := range g.holders {
		if hold, held := g.Holder(q); held && hold.Writer == writer {
			queues = append(queues, q)
		}
	}
	return queues
}

// Holder is the unreleased Hold of a local queue.
func (g *GroupFacts) Holder(q LocalQueue) (Record, bool) {
	h := g.holders[q]
	if h == nil || h.hold.Kind == 0 {
		return Record{}, false
	}
	if _, released := h.releases[h.hold.Writer]; released {
		return Record{}, false
	}
	return h.hold, true
}
