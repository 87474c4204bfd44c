package filter

import (
	"slices"

	"github.com/go-msha/msha"
)

// AcquireHome begins a generation of a home queue that is read on from start: each of its incarnations is a queue of its own.
func (t *Tracker) AcquireHome(local LocalQueue, home msha.OriginQueue, in *msha.Incarnations, start int64) {
	for _, part := range in.All(home) {
		t.Acquire(local, part.Queue, min(max(start, part.From), part.To))
	}
}

// AcquireReplica begins a generation of a replica queue. The copy before its pull position is of origin, and next is the offset behind it; of
// older incarnations only the facts tell how far they were pulled. origin's Topic is empty if there is no such copy.
func (t *Tracker) AcquireReplica(local LocalQueue, origin msha.OriginQueue, next int64) {
	if origin.Topic == "" {
		t.Acquire(local, origin, next)
		return
	}
	for q := origin; q.Incarnation > 0; {
		q.Incarnation--
		if pulled := t.Facts().Next(q); pulled > 0 {
			t.Acquire(local, q, pulled)
		}
	}
	// The copy before the position may be of a batch that a replaced replicator had on its way, and stored behind later ones.
	t.Acquire(local, origin, max(next, t.Facts().Next(origin)))
}

// PulledHome is Pulled for the offsets [from, to) of a home queue.
func (t *Tracker) PulledHome(local LocalQueue, home msha.OriginQueue, in *msha.Incarnations, ms []Message, from, to int64) {
	for _, part := range in.Split(home, from, to) {
		n := slices.IndexFunc(ms, func(m Message) bool { return m.Origin.Offset >= part.To })
		if n < 0 {
			n = len(ms)
		}
		t.Pulled(local, part.Queue, ms[:n], part.To)
		ms = ms[n:]
	}
}

// CarryOver gives what this generation of a home queue has done in [from, to) the identities of now in place of those of was. It returns what ends
// the Opens under the old ones.
func (t *Tracker) CarryOver(home msha.OriginQueue, was, now *msha.Incarnations, from, to int64) (closes []Record) {
	for _, part := range now.Split(home, from, to) {
		for _, old := range was.Split(home, part.From, part.To) {
			if old.Queue == part.Queue {
				continue
			}
			o := Range(old.From, old.To)
			t.Carry(old.Queue, part.Queue, o)
			closes = append(closes, t.Closes(old.Queue, o)...)
		}
	}
	return closes
}

// ReadUpTo is how far the facts say that a home queue was read. Facts precede commits, so an offset that was committed beyond is not this group's
// own.
//
// Of a queue with a new incarnation nothing is known before some of that was read: an offset from before the broker lost its tail may be beyond
// what was read since, and what is stored below it now was read by nobody.
func (g *GroupFacts) ReadUpTo(home msha.OriginQueue, in *msha.Incarnations) (read int64, known bool) {
	newest := home
	newest.Incarnation = in.Newest(home)
	read, known = g.Baseline(home)
	if newest.Incarnation > 0 && g.Next(newest) == 0 {
		return 0, false
	}
	for ; newest.Incarnation >= 0; newest.Incarnation-- {
		read = max(read, g.Next(newest))
	}
	return read, known
}
