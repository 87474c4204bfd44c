package msha

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// IncarnationsKey + "." + unit is the document of a unit's incarnations. It exists once one was raised.
const IncarnationsKey = "metadata.incarnations"

// Incarnations says since which offset queues of one unit use their offsets again: a broker lost its tail, or a topic was recreated
// (design section 6). Without it what is stored there now would be taken for what was copied and processed under the same offsets. It only
// grows. A value that was read is never changed; nil is that of a unit where nothing was ever lost.
type Incarnations struct {
	Queues []RaisedQueue `json:"queues"`
}

// RaisedQueue is a queue with more than one incarnation.
type RaisedQueue struct {
	Queue  OriginQueue `json:"queue"` // incarnation 0
	Raised []Raised    `json:"raised"`
}

// Raised is one incarnation of a queue: the n-th of them is incarnation n. All messages from its first offset on belong to it, until a
// later one begins at the same offset or below.
type Raised struct {
	From   int64  `json:"from"`
	Reason string `json:"reason"` // for people
}

// Incarnation is a range of offsets of one incarnation.
type Incarnation struct {
	Queue    OriginQueue
	From, To int64 // To is not part of it
}

// ParseIncarnations parses the document; nil for one that does not exist. ErrInvalid if it cannot be used.
func ParseIncarnations(doc Document) (*Incarnations, error) {
	if len(doc.Value) == 0 {
		return nil, nil
	}
	bad := func(what any) (*Incarnations, error) {
		return nil, Errorf("incarnations", doc.Key, "restore the document from a backup", "%w: %v", ErrInvalid, what)
	}
	in := &Incarnations{}
	if err := json.Unmarshal(doc.Value, in); err != nil {
		return bad(err)
	}
	for i, q := range in.Queues {
		if q.Queue.Incarnation != 0 || len(q.Raised) == 0 || slices.ContainsFunc(in.Queues[:i], func(o RaisedQueue) bool { return o.Queue == q.Queue }) {
			return bad("queue " + q.Queue.String())
		}
		for _, r := range q.Raised {
			if r.From < 0 {
				return bad(fmt.Sprintf("queue %s begins at offset %d", q.Queue, r.From))
			}
		}
	}
	return in, nil
}

func (in *Incarnations) raised(q OriginQueue) []Raised {
	if in == nil {
		return nil
	}
	for _, r := range in.Queues {
		if r.Queue == q.First() {
			return r.Raised
		}
	}
	return nil
}

// At is the queue with the incarnation that the message at an offset belongs to now; q may name any incarnation.
func (in *Incarnations) At(q OriginQueue, offset int64) OriginQueue {
	q = q.First()
	for i, r := range in.raised(q) {
		if r.From <= offset {
			q.Incarnation = int64(i + 1)
		}
	}
	return q
}

// Count is how many incarnations were raised in all: the document only grows, so more is newer.
func (in *Incarnations) Count() (n int) {
	if in != nil {
		for _, q := range in.Queues {
			n += len(q.Raised)
		}
	}
	return n
}

// Newest is how many incarnations of a queue were raised.
func (in *Incarnations) Newest(q OriginQueue) int64 { return int64(len(in.raised(q))) }

// From is the offset at which the incarnation that q names begins.
func (in *Incarnations) From(q OriginQueue) int64 {
	if raised := in.raised(q); q.Incarnation > 0 && q.Incarnation <= int64(len(raised)) {
		return raised[q.Incarnation-1].From
	}
	return 0
}

// After is where messages continue behind the one at o: right behind it, unless its offset was used again since. Then used is true, and
// next is the lowest offset that was.
func (in *Incarnations) After(o Origin) (next int64, used bool) {
	next = o.Offset + 1
	for i, r := range in.raised(o.OriginQueue) {
		if int64(i+1) > o.Incarnation && r.From <= o.Offset {
			next, used = min(next, r.From), true
		}
	}
	return next, used
}

// Split cuts the offsets [from, to) of a queue into those of each incarnation, ascending.
func (in *Incarnations) Split(q OriginQueue, from, to int64) []Incarnation {
	var out []Incarnation
	for at := from; at < to; {
		end := to
		for _, r := range in.raised(q) {
			if r.From > at {
				end = min(end, r.From)
			}
		}
		if queue := in.At(q, at); len(out) > 0 && out[len(out)-1].Queue == queue {
			out[len(out)-1].To = end
		} else {
			out = append(out, Incarnation{queue, at, end})
		}
		at = end
	}
	return out
}

// All is Split of all offsets.
func (in *Incarnations) All(q OriginQueue) []Incarnation { return in.Split(q, 0, math.MaxInt64) }

// Raise begins a new incarnation of a queue at an offset. seen is a message that was read at or above that offset and is not what is, or
// will be, stored there now. If its offset belongs to a later incarnation already, somebody else has raised it, and nothing changes. It
// returns the document as it is then; raised says whether this call changed it.
func Raise(ctx context.Context, store MetaStore, from int64, seen Origin, reason string) (in *Incarnations, raised bool, err error) {
	if from < 0 || from > seen.Offset {
		return nil, false, Errorf("incarnations.raise", seen.String(), "", "%w: it would begin at offset %d", ErrInvalid, from)
	}
	key := IncarnationsKey + "." + seen.Unit
	err = Update(ctx, store, key, func(doc Document) ([]byte, error) {
		if in, err = ParseIncarnations(doc); err != nil {
			return nil, err
		}
		_, used := in.After(seen)
		if raised = !used; used {
			return doc.Value, nil
		}
		in = in.with(seen.OriginQueue, Raised{from, reason})
		return json.Marshal(in)
	})
	return in, raised && err == nil, err
}

func (in *Incarnations) with(q OriginQueue, r Raised) *Incarnations {
	q = q.First()
	out := &Incarnations{}
	if in != nil {
		out.Queues = slices.Clone(in.Queues)
	}
	i := slices.IndexFunc(out.Queues, func(have RaisedQueue) bool { return have.Queue == q })
	if i < 0 {
		out.Queues = append(out.Queues, RaisedQueue{Queue: q, Raised: []Raised{r}})
		return out
	}
	out.Queues[i].Raised = append(slices.Clone(out.Queues[i].Raised), r)
	return out
}
