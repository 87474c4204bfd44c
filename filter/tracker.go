package filter

import (
	"maps"
	"slices"

	"github.com/go-msha/msha"
)

// Tracker decides for one group in one agent. It is pure and not safe for concurrent use; the engine holds one lock around it:
//
//	Acquire a queue, Apply the log to its end → Pulled → Start → Finish, Skipped or Fail → Publish → commit the offset → Drop
type Tracker struct {
	unit, group, client, writer string

	facts    *Facts
	mine     *GroupFacts
	table    *msha.Table
	owned    []Key                  // terms this unit owns, open or fenced
	open     []handover             // those that are open
	caughtUp uint64                 // the log was read to its end after this table version was applied
	numbers  uint64                 // of this process's Opens
	waiting  map[msha.Origin]Record // failed here: its Open, until the log was read up to what ended or sent it
	queues   map[msha.OriginQueue]*queueState
	recent   *queueState // asked about last
	locals   map[LocalQueue]*localState
	running  map[msha.Origin]flight            // retry copies
	version  uint64                            // of the facts: grows when they change
	dirty    map[string]map[termQueue]*Offsets // by log: covered since the last Publish
	reported map[msha.OriginQueue]int64        // pull positions that were published
}

// flight is a started message, with what it takes to find its route again in a newer table than that of version.
type flight struct {
	Key
	value, unit string
	version     uint64
}

type localState struct {
	log     string
	origins []msha.OriginQueue
}

// NewTracker returns a tracker without table and facts; nothing may start yet. writer is random per process start.
func NewTracker(unit, group, client, writer string) *Tracker {
	f := NewFacts()
	return &Tracker{
		unit: unit, group: group, client: client, writer: writer, facts: f, mine: f.Group(group),
		queues: map[msha.OriginQueue]*queueState{}, locals: map[LocalQueue]*localState{}, running: map[msha.Origin]flight{},
		waiting: map[msha.Origin]Record{}, dirty: map[string]map[termQueue]*Offsets{}, reported: map[msha.OriginQueue]int64{},
	}
}

// Facts gives read access to the fold.
func (t *Tracker) Facts() *GroupFacts {
	t.foldAll()
	return t.mine
}

// Apply folds a record of the unit's own log, as read from the log (DecodeLog). closed is true if a queue this agent holds may have
// something to re-scan now. What this process wrote itself counts when it is read back, like everybody's: all agents must see one
// order.
func (t *Tracker) Apply(log string, r Record) (closed bool) {
	t.version++
	t.facts.Apply(log, r)
	if r.Kind == Snapshot || r.Kind == Baseline && r.Set != "" { // with it a hand-over may be complete now
		return len(t.queues) > 0
	}
	if r.Group != t.group {
		return false
	}
	switch r.Kind {
	case Sent, Close, Void:
		if t.waiting[r.Origin()].Number == r.Number {
			delete(t.waiting, r.Origin())
		}
	}
	_, held := t.queues[r.Queue]
	return held && (r.Kind == Close || r.Kind == Void)
}

// ApplyCopy folds a record of the copy of another unit's log.
func (t *Tracker) ApplyCopy(r Record) {
	t.version++
	t.facts.ApplyCopy(r)
}

// SetTable applies a table; from now on nothing starts under an older one. gained is true if this unit may start messages that it might
// not before.
func (t *Tracker) SetTable(table *msha.Table) (gained bool) {
	gained = t.table == nil || t.gains(table)
	t.foldAll() // for the terms that were owned until now
	t.table = table
	owned, open := map[Key]bool{}, map[handover]bool{}
	for _, s := range table.Sets {
		if s.Owner != t.unit {
			continue
		}
		owned[KeyOf(s)] = true
		if s.State == msha.SetOpen {
			open[handover{KeyOf(s), s.RemainingHash}] = true
		}
	}
	t.owned = slices.SortedFunc(maps.Keys(owned), compareKeys)
	t.open = slices.SortedFunc(maps.Keys(open), func(a, b handover) int { return compareKeys(a.Key, b.Key) })
	return gained
}

// gains tells whether a table opens a set to this unit. One that was fenced may have gone back into the set it was split from.
func (t *Tracker) gains(table *msha.Table) bool {
	for id, s := range table.Sets {
		if old, ok := t.table.Sets[id]; s.Owner == t.unit && s.State == msha.SetOpen &&
			(!ok || old.Owner != s.Owner || old.State != s.State || KeyOf(old) != KeyOf(s) || old.RemainingHash != s.RemainingHash) {
			return true
		}
	}
	for id, old := range t.table.Sets {
		if s := table.Sets[id]; old.Owner == t.unit && old.State == msha.SetFenced && s.State != msha.SetFenced {
			return true
		}
	}
	return false
}

// Current is the version of the table applied if the log was read to its end under it, 0 otherwise: until then nothing is known to be
// pending.
func (t *Tracker) Current() uint64 {
	if t.table == nil || t.caughtUp < t.table.Version {
		return 0
	}
	return t.table.Version
}

// CaughtUp says that the log was read to its end after the table of this version was applied.
func (t *Tracker) CaughtUp(version uint64) { t.caughtUp = max(t.caughtUp, version) }

// Acquire begins a generation of a local queue. For a home queue origin and next are its own; for a replica queue they come from the
// message before the pull position, if there is one (origin's Topic is empty otherwise). A home queue with several incarnations is
// acquired for each of them.
func (t *Tracker) Acquire(q LocalQueue, origin msha.OriginQueue, next int64) {
	if t.locals[q] == nil {
		t.locals[q] = &localState{log: q.Broker}
	}
	if origin.Topic != "" {
		t.queueOf(q, origin, next)
	}
}

func (t *Tracker) queueOf(local LocalQueue, origin msha.OriginQueue, next int64) *queueState {
	if s := t.state(origin); s != nil {
		return s
	}
	l := t.locals[local]
	s := &queueState{queue: origin, log: l.log, next: next}
	t.queues[origin] = s
	l.origins = append(l.origins, origin)
	return s
}

// state is a held origin queue, nil if it is not held.
func (t *Tracker) state(q msha.OriginQueue) *queueState {
	if t.recent == nil || t.recent.queue != q {
		s := t.queues[q]
		if s == nil {
			return nil
		}
		t.recent = s
	}
	return t.recent
}

// Drop ends the generation of a local queue; its messages must be finished.
func (t *Tracker) Drop(q LocalQueue) {
	if l := t.locals[q]; l != nil {
		for _, o := range l.origins {
			t.fold(t.queues[o])
			delete(t.queues, o)
		}
		delete(t.locals, q)
		t.recent = nil
	}
}

// Held lists the origin queues this agent is responsible for, sorted.
func (t *Tracker) Held() []msha.OriginQueue {
	return slices.SortedFunc(maps.Keys(t.queues), compareQueues)
}

// Pulled tells of a pull's messages in order. What lies between two of them was filtered out by the broker and counts as covered. end is
// the next offset of a home queue, 0 for a replica queue.
func (t *Tracker) Pulled(local LocalQueue, origin msha.OriginQueue, ms []Message, end int64) {
	for i := range ms {
		m := &ms[i]
		s := t.queueOf(local, m.Origin.OriginQueue, m.Origin.Offset)
		if m.Origin.Offset > s.next {
			t.coverAll(s.log, m.Origin.OriginQueue, s.next, m.Origin.Offset, Key{})
		}
		s.next = max(s.next, m.Origin.Offset+1)
		s.add(m.Origin.Offset)
	}
	if s := t.state(origin); s != nil && end > s.next {
		t.coverAll(s.log, origin, s.next, end, Key{})
		s.next = end
	}
}

// LocalOf is the held local queue an origin queue's messages are in.
func (t *Tracker) LocalOf(q msha.OriginQueue) (LocalQueue, bool) {
	for local, l := range t.locals {
		if slices.Contains(l.origins, q) {
			return local, true
		}
	}
	return LocalQueue{}, false
}
