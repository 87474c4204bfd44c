package filter

import (
	"github.com/go-msha/msha"
)

// Pending is what the held queue still has to be read again for: remaining ∩ below the pull position - buffered or in flight - Done -
// Open, over the open terms this unit owns. Nothing while a term's hand-over or a baseline is not read.
func (t *Tracker) Pending(q msha.OriginQueue) Offsets {
	s := t.state(q)
	if s == nil || t.Current() == 0 {
		return nil
	}
	t.fold(s)
	var out Offsets
	for _, k := range t.open {
		remaining, ok := t.mine.Remaining(k.Key, k.hash, q)
		if !ok {
			continue
		}
		if left := remaining.Below(s.next).Minus(t.mine.Done(k.Key, q)); !left.Empty() {
			out = out.Union(left.Minus(t.mine.Opens(k.Key, q)))
		}
	}
	if out.Empty() {
		return nil
	}
	return out.Minus(t.busy(q, s))
}

// busy is what is buffered, in flight, or on its way to the retry topic.
func (t *Tracker) busy(q msha.OriginQueue, s *queueState) Offsets {
	var busy Offsets
	for off := range s.messages.all() {
		busy.Add(off, off+1)
	}
	for o := range t.running {
		if o.OriginQueue == q {
			busy.Add(o.Offset, o.Offset+1)
		}
	}
	for o := range t.waiting {
		if o.OriginQueue == q {
			busy.Add(o.Offset, o.Offset+1)
		}
	}
	return busy
}

// Reread registers a message of a re-scan as buffered again, before Start.
func (t *Tracker) Reread(m Message) {
	if s := t.state(m.Origin.OriginQueue); s != nil {
		s.add(m.Origin.Offset)
	}
}

// Forget takes a message that was not started out of the buffer: a re-scan reads it again.
func (t *Tracker) Forget(m Message) {
	if s := t.state(m.Origin.OriginQueue); s != nil {
		s.forget(m.Origin.Offset)
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

// Voidable lists records that end the Opens without Sent in held queues whose writer is gone. A writer that is alive after all loses
// nothing: its failed message is re-scanned, and its retry copy refused.
func (t *Tracker) Voidable(alive func(client string) bool) []Record {
	t.foldAll()
	var out []Record
	for _, q := range t.Held() {
		for _, open := range t.mine.Unsent(q) {
			if open.Writer != t.writer && (!alive(open.Client) || t.facts.replaced(t.mine.logs[q], open)) {
				out = append(out, VoidOf(open))
			}
		}
	}
	return out
}
