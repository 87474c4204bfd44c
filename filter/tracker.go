package filter

import (
	"maps"
	"slices"
	"strconv"

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

// Decision is the answer to Start.
type Decision struct {
	Verdict Verdict
	Reason  string // for logs and counters
	Key     Key    // the term it runs under
	Close   Record // Refuse: to be written first
}

// Tracker decides for one group in one agent. It is pure and not safe for concurrent use; the engine holds one lock around it:
//
//	Acquire a queue, Apply the log to its end → Pulled → Start → Finish, Skipped or Fail → Publish → commit the offset → Drop
type Tracker struct {
	unit, group, client, writer string

	facts    *Facts
	mine     *GroupFacts
	table    *msha.Table
	owned    []Key  // terms this unit owns, open or fenced
	caughtUp uint64 // the log was read to its end after this table version was applied
	numbers  uint64
	queues   map[msha.OriginQueue]*queueState
	locals   map[LocalQueue]*localState
	running  map[msha.Origin]flight
	dirty    map[string]map[termQueue]*Offsets // by log: covered since the last Publish
	moved    map[string]map[msha.OriginQueue]int64
}

// queueState is an origin queue whose local queue this agent holds.
type queueState struct {
	log      string
	next     int64         // everything below was pulled
	buffered map[int64]int // pulled and not finished, with how often
}

// flight is a started message, with what it takes to find its route again in a newer table.
type flight struct {
	Key
	value, unit string
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
		dirty: map[string]map[termQueue]*Offsets{}, moved: map[string]map[msha.OriginQueue]int64{},
	}
}

// Facts gives read access to the fold.
func (t *Tracker) Facts() *GroupFacts { return t.mine }

// Apply folds a record of the unit's own log. closed is true if a queue this agent holds may have something to re-scan now.
func (t *Tracker) Apply(log string, r Record) (closed bool) {
	t.facts.Apply(log, r)
	_, held := t.queues[r.Queue]
	return r.Group == t.group && r.Kind == Close && held
}

// ApplyCopy folds a record of the copy of another unit's log.
func (t *Tracker) ApplyCopy(r Record) { t.facts.ApplyCopy(r) }

// SetTable applies a table; from now on nothing starts under an older one.
func (t *Tracker) SetTable(table *msha.Table) {
	t.table = table
	keys := map[Key]bool{}
	for _, s := range table.Sets {
		if s.Owner == t.unit {
			keys[KeyOf(s)] = true
		}
	}
	t.owned = slices.SortedFunc(maps.Keys(keys), compareKeys)
}

// CaughtUp says that the log was read to its end after the table of this version was applied.
func (t *Tracker) CaughtUp(version uint64) { t.caughtUp = max(t.caughtUp, version) }

// Acquire begins a generation of a local queue. For a home queue origin and next are its own; for a replica queue they come from the
// message before the pull position, if there is one (origin's Topic is empty otherwise).
func (t *Tracker) Acquire(q LocalQueue, origin msha.OriginQueue, next int64) {
	t.locals[q] = &localState{log: q.Broker}
	if origin.Topic != "" {
		t.queueOf(q, origin, next)
	}
}

func (t *Tracker) queueOf(local LocalQueue, origin msha.OriginQueue, next int64) *queueState {
	l := t.locals[local]
	if s := t.queues[origin]; s != nil {
		return s
	}
	s := &queueState{log: l.log, next: next, buffered: map[int64]int{}}
	t.queues[origin] = s
	l.origins = append(l.origins, origin)
	return s
}

// Drop ends the generation of a local queue; its messages must be finished.
func (t *Tracker) Drop(q LocalQueue) {
	if l := t.locals[q]; l != nil {
		for _, o := range l.origins {
			delete(t.queues, o)
		}
		delete(t.locals, q)
	}
}

// Held lists the origin queues this agent is responsible for, sorted.
func (t *Tracker) Held() []msha.OriginQueue {
	return slices.SortedFunc(maps.Keys(t.queues), compareQueues)
}

// Pulled tells of a pull's messages in order. What lies between two of them was filtered out by the broker and counts as covered. end is
// the next offset of a home queue, 0 for a replica queue.
func (t *Tracker) Pulled(local LocalQueue, origin msha.OriginQueue, ms []Message, end int64) {
	for _, m := range ms {
		s := t.queueOf(local, m.Origin.OriginQueue, m.Origin.Offset)
		if m.Origin.Offset > s.next {
			t.coverAll(s.log, m.Origin.OriginQueue, s.next, m.Origin.Offset, Key{})
		}
		s.next = max(s.next, m.Origin.Offset+1)
		s.buffered[m.Origin.Offset]++
	}
	if s := t.queues[origin]; s != nil && end > s.next {
		t.coverAll(s.log, origin, s.next, end, Key{})
		s.next = end
	}
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
	if m.Legacy {
		return Decision{Verdict: Run, Reason: "legacy retry"}
	}
	if t.table == nil {
		return Decision{Verdict: Wait, Reason: "no table"}
	}
	set, ok := t.table.Lookup(m.Value, m.Unit)
	if !ok {
		return Decision{Verdict: Skip, Reason: "no route"}
	}
	if set.Owner != t.unit {
		return Decision{Verdict: Skip, Reason: "other unit"}
	}
	key := KeyOf(set)
	if t.caughtUp < t.table.Version && !t.mine.HandedOver(key, set.RemainingHash) && set.RemainingHash != "" {
		return Decision{Verdict: Wait, Reason: "hand-over not read"}
	}
	number, sent, open := t.mine.OpenNumber(key, m.Origin)
	if m.Retry != "" && number != m.Retry {
		if !m.Fresh && !t.knows(key, m) {
			return Decision{Verdict: Wait, Reason: "open record not read"}
		}
		return Decision{Verdict: Skip, Reason: "retry copy of the past"}
	}
	if set.State == msha.SetFenced {
		if m.Retry != "" {
			return Decision{Verdict: Refuse, Reason: "fenced", Key: key, Close: t.closeOf(key, m.Origin, number)}
		}
		return Decision{Verdict: Skip, Reason: "fenced"}
	}
	remaining, known := t.mine.Remaining(key, set.RemainingHash, m.Origin.OriginQueue)
	switch {
	case !known:
		return Decision{Verdict: Wait, Reason: "no baseline"}
	case !remaining.Contains(m.Origin.Offset):
		return Decision{Verdict: Skip, Reason: "not in remaining"}
	case t.mine.Done(key, m.Origin.OriginQueue).Contains(m.Origin.Offset):
		return Decision{Verdict: Skip, Reason: "done"}
	}
	if _, twice := t.running[m.Origin]; twice {
		return Decision{Verdict: Skip, Reason: "in flight"}
	}
	switch {
	case m.Retry == "" && open:
		return Decision{Verdict: Skip, Reason: "waits for its retry"}
	case m.Retry != "" && !sent:
		return Decision{Verdict: Wait, Reason: "sent record not read"}
	}
	return Decision{Verdict: Run, Key: key}
}

// knows tells whether the log mentioned this number at all, closed or not.
func (t *Tracker) knows(k Key, m Message) bool {
	a := t.mine.opens[termQueue{k, m.Origin.OriginQueue}][m.Origin.Offset]
	return a != nil && a.states[m.Retry] != nil
}

func (t *Tracker) closeOf(k Key, o msha.Origin, number string) Record {
	return Record{Kind: Close, Group: t.group, Set: k.Set, Term: k.Term, Queue: o.OriginQueue, Offset: o.Offset, Number: number, Writer: t.writer, Client: t.client}
}

// Finish records that a started message was processed, or given to the dead-letter topic. log is the broker of the local queue it
// came from.
func (t *Tracker) Finish(m Message, k Key, log string) {
	delete(t.running, m.Origin)
	if m.Legacy || k == (Key{}) {
		return
	}
	t.cover(log, k, m.Origin.OriginQueue, m.Origin.Offset, m.Origin.Offset+1)
	t.left(m, k)
}

// Failed records that a started message waits for its retry copy: Fail's record is in the log.
func (t *Tracker) Failed(m Message, k Key) {
	delete(t.running, m.Origin)
	if !m.Legacy {
		t.left(m, k)
	}
}

// Skipped records that a message was acknowledged unprocessed. For its own route it stays an exception, for the others it is covered.
func (t *Tracker) Skipped(m Message) {
	if m.Legacy || m.Retry != "" {
		return
	}
	var own Key
	if set, ok := t.table.Lookup(m.Value, m.Unit); ok {
		own = KeyOf(set)
	}
	t.left(m, own)
}

// left takes a message out of the buffer and covers it for every owned term but its own.
func (t *Tracker) left(m Message, own Key) {
	s := t.queues[m.Origin.OriginQueue]
	if s == nil || m.Retry != "" {
		return
	}
	if s.buffered[m.Origin.Offset]--; s.buffered[m.Origin.Offset] <= 0 {
		delete(s.buffered, m.Origin.Offset)
	}
	t.coverAll(s.log, m.Origin.OriginQueue, m.Origin.Offset, m.Origin.Offset+1, own)
}

func (t *Tracker) coverAll(log string, q msha.OriginQueue, from, to int64, except Key) {
	for _, k := range t.owned {
		if k != except {
			t.cover(log, k, q, from, to)
		}
	}
}

func (t *Tracker) cover(log string, k Key, q msha.OriginQueue, from, to int64) {
	t.mine.cover(k, q, from, to)
	if t.dirty[log] == nil {
		t.dirty[log] = map[termQueue]*Offsets{}
	}
	tq := termQueue{k, q}
	if t.dirty[log][tq] == nil {
		t.dirty[log][tq] = &Offsets{}
	}
	t.dirty[log][tq].Add(from, to)
}

// Fail gives the Open record of a failed message; it takes effect at once and must be written before the retry copy is sent.
func (t *Tracker) Fail(m Message, k Key, attempt int, msgID, uniqKey string) Record {
	t.numbers++
	r := Record{
		Kind: Open, Group: t.group, Set: k.Set, Term: k.Term, Queue: m.Origin.OriginQueue, Offset: m.Origin.Offset,
		Number: t.writer + "-" + strconv.FormatUint(t.numbers, 10), Attempt: attempt, Writer: t.writer, Client: t.client, MsgID: msgID, UniqKey: uniqKey,
	}
	if m.Retry != "" { // the copy that failed now is of the past
		t.mine.apply(t.closeOf(k, m.Origin, m.Retry))
	}
	t.mine.apply(r)
	return r
}

// SentOf is the record that follows an Open once its retry copy is stored, CloseOf the one that voids it.
func SentOf(open Record) Record {
	open.Kind, open.MsgID, open.UniqKey, open.Attempt = Sent, "", "", 0
	return open
}

// CloseOf ends an Open.
func CloseOf(open Record) Record {
	open.Kind, open.MsgID, open.UniqKey, open.Attempt = Close, "", "", 0
	return open
}

// Voidable lists the Close records for Opens without Sent in held queues whose writer is gone.
func (t *Tracker) Voidable(alive func(client string) bool) []Record {
	var out []Record
	for _, q := range t.Held() {
		for _, open := range t.mine.Unsent(q) {
			if open.Writer != t.writer && !alive(open.Client) {
				out = append(out, CloseOf(open))
			}
		}
	}
	return out
}

// Pending is what the held queue still has to be read again for: remaining ∩ below the pull position - buffered or in flight - Done -
// Open, over the open terms this unit owns. Nothing while a term's hand-over or a baseline is not read.
func (t *Tracker) Pending(q msha.OriginQueue) Offsets {
	s := t.queues[q]
	if s == nil || t.table == nil || t.caughtUp < t.table.Version {
		return nil
	}
	var busy Offsets
	for off := range s.buffered {
		busy.Add(off, off+1)
	}
	for o := range t.running {
		if o.OriginQueue == q {
			busy.Add(o.Offset, o.Offset+1)
		}
	}
	var out Offsets
	for _, set := range t.table.Sets {
		if set.Owner != t.unit || set.State != msha.SetOpen {
			continue
		}
		k := KeyOf(set)
		remaining, ok := t.mine.Remaining(k, set.RemainingHash, q)
		if !ok {
			continue
		}
		out = out.Union(remaining.Below(s.next).Minus(t.mine.Done(k, q)).Minus(t.mine.Opens(k, q)))
	}
	return out.Minus(busy)
}

// Reread registers a message of a re-scan as buffered again, before Start.
func (t *Tracker) Reread(m Message) {
	if s := t.queues[m.Origin.OriginQueue]; s != nil {
		s.buffered[m.Origin.Offset]++
	}
}

// Absent covers offsets a re-scan did not find: expired, or filtered out by the group's own subscription.
func (t *Tracker) Absent(q msha.OriginQueue, o Offsets) {
	if s := t.queues[q]; s != nil {
		for _, span := range o {
			t.coverAll(s.log, q, span.From, span.To, Key{})
		}
	}
}

// Drained tells whether nothing is in flight that the table no longer lets start: then, with everything published, the version may be
// acknowledged. Parts of a split share a key, so the route of each message in flight is looked up anew.
func (t *Tracker) Drained() bool {
	for _, f := range t.running {
		set, ok := t.table.Lookup(f.value, f.unit)
		if !ok || set.Owner != t.unit || set.State != msha.SetOpen || KeyOf(set) != f.Key {
			return false
		}
	}
	return true
}

// LogRecords are records for the log of one broker.
type LogRecords struct {
	Log     string
	Records []Record
}

// Publish takes what was covered since the last call; give it back with Restore if it could not be written.
func (t *Tracker) Publish() []LogRecords {
	for q, s := range t.queues {
		if t.moved[s.log] == nil {
			t.moved[s.log] = map[msha.OriginQueue]int64{}
		}
		if s.next > t.mine.next[q] {
			t.moved[s.log][q] = s.next
			t.mine.next[q] = s.next
		}
	}
	logs := map[string][]Record{}
	for log, byQueue := range t.moved {
		for _, q := range slices.SortedFunc(maps.Keys(byQueue), compareQueues) {
			logs[log] = append(logs[log], Record{Kind: Done, Group: t.group, Queue: q, Next: byQueue[q]})
		}
	}
	for log, byTerm := range t.dirty {
		for tq, spans := range byTerm {
			logs[log] = append(logs[log], Record{Kind: Done, Group: t.group, Set: tq.Set, Term: tq.Term, Queue: tq.queue, Spans: *spans})
		}
	}
	clear(t.dirty)
	clear(t.moved)
	var out []LogRecords
	for _, log := range slices.Sorted(maps.Keys(logs)) {
		slices.SortFunc(logs[log], func(a, b Record) int {
			if c := compareKeys(a.Key(), b.Key()); c != 0 {
				return c
			}
			return compareQueues(a.Queue, b.Queue)
		})
		out = append(out, LogRecords{log, logs[log]})
	}
	return out
}

// Restore puts records of a failed Publish back.
func (t *Tracker) Restore(l LogRecords) {
	for _, r := range l.Records {
		if r.Set == "" {
			delete(t.mine.next, r.Queue)
			continue
		}
		for _, s := range r.Spans {
			t.cover(l.Log, r.Key(), r.Queue, s.From, s.To)
		}
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
