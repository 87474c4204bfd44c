package filter

import (
	"slices"

	"github.com/go-msha/msha"
)

// attempt is one retry copy of one message, as the log tells it.
type attempt struct {
	open   Record // zero Kind: not read
	sentAt int64  // where the first Sent is; -1: none
	voidAt int64  // where the first Void is; -1: none
	closed bool
}

func (a *attempt) sent() bool { return a.sentAt >= 0 }

// over tells whether the number has ended. A Void is only a guess that the writer died: it counts unless Sent came first, because
// then somebody may be running the copy.
func (a *attempt) over() bool {
	return a.closed || a.voidAt >= 0 && !(a.sent() && a.sentAt < a.voidAt)
}

// retries is the history of one message in one term.
type retries struct {
	numbers []string
	last    *attempt // the last Open in the log
}

func (g *GroupFacts) applyAttempt(r Record) {
	tq := termQueue{r.Key(), r.Queue}
	if g.Done(tq.Key, tq.queue).Contains(r.Offset) {
		return // forgotten, see forgetRetries
	}
	if g.retries[tq] == nil {
		g.retries[tq] = map[int64]*retries{}
	}
	h := g.retries[tq][r.Offset]
	if h == nil {
		h = &retries{}
		g.retries[tq][r.Offset] = h
	}
	a := g.numbers[r.Number]
	if a == nil {
		a = &attempt{sentAt: -1, voidAt: -1}
		g.numbers[r.Number] = a
		h.numbers = append(h.numbers, r.Number)
	}
	switch r.Kind {
	case Open:
		a.open = r
		if h.last == nil || h.last.open.LogOffset <= r.LogOffset {
			h.last = a
		}
	case Sent:
		a.sentAt = first(a.sentAt, r.LogOffset)
	case Void:
		a.voidAt = first(a.voidAt, r.LogOffset)
	case Close:
		a.closed = true
	}
}

func first(known, at int64) int64 {
	if known < 0 {
		return at
	}
	return min(known, at)
}

// forgetRetries drops the history of messages that are Done: whatever the log says of it later has no effect.
func (g *GroupFacts) forgetRetries(tq termQueue, from, to int64) {
	byOffset := g.retries[tq]
	forget := func(off int64) {
		if h := byOffset[off]; h != nil {
			for _, number := range h.numbers {
				delete(g.numbers, number)
			}
			delete(byOffset, off)
		}
	}
	if to-from <= int64(len(byOffset)) {
		for off := from; off < to; off++ {
			forget(off)
		}
		return
	}
	for off := range byOffset {
		if off >= from && off < to {
			forget(off)
		}
	}
}

// live tells whether a number is what its message waits for: its Open is the last one in the log, has not ended, and the message is not
// Done. The copies of earlier Opens were consumed when the later one was written.
func (g *GroupFacts) live(a *attempt) bool {
	if a.open.Kind != Open || a.over() {
		return false
	}
	h := g.retries[termQueue{a.open.Key(), a.open.Queue}][a.open.Offset]
	return h != nil && h.last == a
}

// open is the retry copy a message waits for, or nil.
func (g *GroupFacts) open(k Key, o msha.Origin) *attempt {
	h := g.retries[termQueue{k, o.OriginQueue}][o.Offset]
	if h == nil || h.last == nil || !g.live(h.last) {
		return nil
	}
	return h.last
}

// OpenNumber is the number of the retry copy a message waits for; sent tells whether the copy is known to be stored.
func (g *GroupFacts) OpenNumber(k Key, o msha.Origin) (number string, sent, ok bool) {
	a := g.open(k, o)
	if a == nil {
		return "", false, false
	}
	return a.open.Number, a.sent(), true
}

// Opens is the set of offsets that wait for a retry copy.
func (g *GroupFacts) Opens(k Key, q msha.OriginQueue) Offsets {
	var out Offsets
	for off := range g.retries[termQueue{k, q}] {
		if g.open(k, msha.Origin{OriginQueue: q, Offset: off}) != nil {
			out.Add(off, off+1)
		}
	}
	return out
}

// Unsent lists the Opens of a queue without Sent, in a stable order: their writers may be dead.
func (g *GroupFacts) Unsent(q msha.OriginQueue) []Record {
	var out []Record
	for tq, byOffset := range g.retries {
		if tq.queue != q {
			continue
		}
		for off := range byOffset {
			if a := g.open(tq.Key, msha.Origin{OriginQueue: q, Offset: off}); a != nil && !a.sent() {
				out = append(out, a.open)
			}
		}
	}
	slices.SortFunc(out, func(a, b Record) int {
		if c := compareKeys(a.Key(), b.Key()); c != 0 {
			return c
		}
		return int(a.Offset - b.Offset)
	})
	return out
}

// SentOf is the record that follows an Open once its retry copy is stored.
func SentOf(open Record) Record { return follow(open, Sent) }

// CloseOf ends an Open whose retry copy was not sent, or is about to be acknowledged unprocessed.
func CloseOf(open Record) Record { return follow(open, Close) }

// VoidOf ends an Open whose writer seems to have died before its copy was stored.
func VoidOf(open Record) Record { return follow(open, Void) }

// NotSent is what is written of a retry copy that may not be stored: the end of its number, and of the number of the copy that failed, if it was one.
// That is about to be acknowledged; should the log lose the new Open, nothing else would end the old one.
func NotSent(end Record, failed string) []Record {
	if failed == "" {
		return []Record{end}
	}
	old := end
	old.Kind, old.Number = Close, failed
	return []Record{end, old}
}

func follow(open Record, kind Kind) Record {
	open.Kind, open.MsgID, open.UniqKey, open.Attempt, open.LogOffset = kind, "", "", 0, 0
	return open
}
