package filter

import (
	"slices"
	"strconv"

	"github.com/go-msha/msha"
)

// Finish records that a started message was processed, or given to the dead-letter topic. log is the broker of the local queue it
// came from.
func (t *Tracker) Finish(m Message, k Key, log string) {
	s := t.state(m.Origin.OriginQueue)
	if s != nil && m.Retry == "" && !m.Legacy {
		if f, ok := s.ended(m.Origin.Offset); ok && f.version == t.table.Version && !s.keeps(k, m.Origin.Offset) {
			s.left.Add(m.Origin.Offset, m.Origin.Offset+1)
			return
		}
		s.did(k, m.Origin.Offset, m.Origin.Offset+1)
		t.cover(log, k, m.Origin.OriginQueue, m.Origin.Offset, m.Origin.Offset+1)
		t.coverAll(log, m.Origin.OriginQueue, m.Origin.Offset, m.Origin.Offset+1, k, t.keyOf(&m))
		return
	}
	delete(t.running, m.Origin)
	if m.Legacy || k == (Key{}) {
		return
	}
	t.cover(log, k, m.Origin.OriginQueue, m.Origin.Offset, m.Origin.Offset+1)
	t.left(&m, k)
}

// Unstart takes back that a message was started: it stays buffered, and Start decides about it again. For ordered groups, which wait
// where they are after a failure.
func (t *Tracker) Unstart(m Message) {
	if s := t.state(m.Origin.OriginQueue); s != nil {
		p := s.messages.note(m.Origin.Offset)
		p.running, p.flight = false, flight{}
	}
}

// Failed records that a started message waits elsewhere: its Open is in the log, and either its Sent or its Close.
func (t *Tracker) Failed(m Message, k Key) {
	delete(t.running, m.Origin)
	if m.Legacy {
		return
	}
	if s := t.state(m.Origin.OriginQueue); s != nil && m.Retry == "" {
		s.ended(m.Origin.Offset)
	}
	t.left(&m, k)
}

// Skipped records that a message was acknowledged unprocessed. For its own route it stays an exception, for the others it is covered.
func (t *Tracker) Skipped(m Message) {
	if m.Legacy || m.Retry != "" {
		return
	}
	t.Forget(m)
	t.left(&m, Key{})
}

// left covers a message for every owned term but its own: the one it ran under, and the one its route
// has now, which is another if the process was out of touch while the route moved away and back.
func (t *Tracker) left(m *Message, own Key) {
	q, off := m.Origin.OriginQueue, m.Origin.Offset
	s := t.state(q)
	if s == nil || m.Retry != "" {
		log := t.mine.logs[q] // of a retry copy whose message's queue somebody else holds
		if s != nil {
			log = s.log
		}
		if log != "" {
			t.coverAll(log, q, off, off+1, own, t.keyOf(m))
		}
		return
	}
	again := s.left.Contains(off) // another copy of it has left before, perhaps processed
	s.left.Add(off, off+1)
	for _, k := range [2]Key{own, t.keyOf(m)} {
		if k != (Key{}) && !again {
			s.keep(k, off)
		}
	}
}

// keyOf is the term of a message's route in the table applied, if this unit owns it. It is the term that this unit lost by force as long
// as it has not rejoined: what it leaves of that may still have to be processed, although parts of the term may have stayed here.
func (t *Tracker) keyOf(m *Message) Key {
	set := t.table.Set(m.Value, m.Unit)
	switch {
	case set == nil:
		return Key{}
	case set.Owner == t.unit:
		return KeyOf(*set)
	}
	lost, _ := set.ForcedFrom(t.unit)
	return Key{lost.Set, lost.Term}
}

func (t *Tracker) coverAll(log string, q msha.OriginQueue, from, to int64, except ...Key) {
	for _, k := range t.owned {
		if !slices.Contains(except, k) {
			t.cover(log, k, q, from, to)
		}
	}
}

func (t *Tracker) cover(log string, k Key, q msha.OriginQueue, from, to int64) {
	if t.mine.done[termQueue{k, q}] == nil {
		t.version++
	}
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

// Carry records that what this generation has done under one incarnation of a held queue was done to messages of another one.
func (t *Tracker) Carry(from, to msha.OriginQueue, o Offsets) {
	s := t.queues[from]
	if s == nil {
		return
	}
	t.fold(s)
	for k, done := range s.done {
		for _, span := range done.Intersect(o) {
			t.cover(s.log, k, to, span.From, span.To)
		}
	}
}

// Closes lists records that end the Opens of some offsets of a queue, under the terms this unit owns.
func (t *Tracker) Closes(q msha.OriginQueue, o Offsets) []Record {
	var out []Record
	for _, k := range t.owned {
		for _, s := range t.mine.Opens(k, q).Intersect(o) {
			for off := s.From; off < s.To; off++ {
				r := CloseOf(t.mine.open(k, msha.Origin{OriginQueue: q, Offset: off}).open)
				r.Client, r.Writer = t.client, t.writer
				out = append(out, r)
			}
		}
	}
	return out
}

// Fail gives the Open record of a failed message. It must be in the log before the retry copy is sent; the message stays in flight until
// Failed is called.
func (t *Tracker) Fail(m Message, k Key, attempt int, msgID, uniqKey string) Record {
	t.numbers++
	r := Record{
		Kind: Open, Group: t.group, Set: k.Set, Term: k.Term, Queue: m.Origin.OriginQueue, Offset: m.Origin.Offset,
		Number: t.writer + "-" + strconv.FormatUint(t.numbers, 10), Attempt: attempt, Writer: t.writer, Client: t.client, MsgID: msgID, UniqKey: uniqKey,
	}
	t.waiting[m.Origin] = r
	return r
}

// Drained tells whether nothing is in flight that the table no longer lets start: then, with everything published, the version may be
// acknowledged. Parts of a split share a key, so the route of each message in flight is looked up anew.
func (t *Tracker) Drained() bool {
	for _, f := range t.running {
		if !t.startable(f) {
			return false
		}
	}
	for _, s := range t.queues {
		for _, p := range s.messages.all() {
			if p.running && p.version != t.table.Version && !t.startable(p.flight) {
				return false
			}
		}
	}
	return true
}

// startable tells whether the table still lets a message start under the term it was started under.
func (t *Tracker) startable(f flight) bool {
	set, ok := t.table.Lookup(f.value, f.unit)
	return ok && set.Owner == t.unit && set.State == msha.SetOpen && KeyOf(set) == f.Key
}
