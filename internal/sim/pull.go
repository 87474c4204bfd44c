package sim

import (
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// pull reads a queue in order until it is given up.
func (a *agent) pull(h *held) {
	a.await(func() bool { return h.dropped || a.phase != running || h.window.Len() < threshold }, func() {
		if h.dropped || a.phase != running {
			h.done = true
			a.broadcast()
			return
		}
		var batch []stored
		end, gap, reused, checked := h.next, false, false, false
		a.call(func() {
			if checked = h.suspect > 0; checked {
				gap, reused = h.missing()
			}
			if gap = gap || h.next > h.q.end(); gap || reused {
				return
			}
			end = min(h.q.end(), h.next+a.w.between(1, pullBatch))
			batch = h.q.items[h.next:end]
		}, func(err error) {
			if h.suspect == 0 && (err != nil || gap) {
				h.suspect = a.w.now
			}
			switch {
			case a.closed(h):
			case err != nil, h.suspect > 0 && !checked && !gap: // the connection broke meanwhile
				a.after(50, func() { a.pull(h) })
			case reused || gap && a.w.now-h.suspect > consumerSettle:
				a.parted(h)
			case gap:
				a.after(100, func() { a.pull(h) })
			case len(batch) == 0:
				h.suspect = 0
				a.waitForMessage(h)
			default:
				h.suspect = 0
				a.arrived(h, batch, end)
				a.pull(h)
			}
		})
	})
}

// waitForMessage is the long poll.
func (a *agent) waitForMessage(h *held) {
	if h.q.end() != h.next {
		a.pull(h)
		return
	}
	h.idle = true
	h.q.waiting = append(h.q.waiting, func() {
		a.after(a.w.latency(), func() {
			h.idle = false
			if !h.done {
				a.pull(h)
			}
		})
	})
}

// arrived registers a pull's messages in the tracker and hands them to the workers. The broker filters out what the group does not
// want.
func (a *agent) arrived(h *held, batch []stored, end int64) {
	var metas []filter.Message
	for i, m := range batch {
		if m.unwanted {
			continue
		}
		it := a.itemOf(h, m, h.next+int64(i))
		h.last = &seen{m.message, it.offset, m.storedAt}
		metas = append(metas, it.meta)
		h.window.Add(it.offset)
		a.ready = append(a.ready, it)
	}
	switch {
	case h.retry(): // the facts of retry copies are their messages' own
	case h.home():
		a.t.PulledHome(h.q.local, h.q.origin, h.in, metas, h.next, end)
	default:
		known := !slices.ContainsFunc(metas, func(m filter.Message) bool {
			_, known := a.t.LocalOf(m.Origin.OriginQueue)
			return !known
		})
		a.t.Pulled(h.q.local, msha.OriginQueue{}, metas, 0)
		if !known { // what lies before the first message the group wants has never been looked at
			a.unsettle()
			a.scan()
		}
	}
	h.next = end
	a.broadcast()
}

func (a *agent) itemOf(h *held, m stored, offset int64) *item {
	return &item{h: h, m: m, offset: offset, arrived: a.fresh,
		meta: filter.Message{Origin: h.identity(m, offset), Value: m.value, Unit: m.unit, Retry: m.number}}
}

// unpark looks again at the messages that had to wait.
func (a *agent) unpark() {
	if len(a.parked) == 0 {
		return
	}
	if a.w.mutation == AlwaysFresh {
		for _, it := range a.parked {
			it.meta.Fresh = true
		}
	}
	for _, it := range a.parked {
		it.h.lane.Unstick()
	}
	a.ready = append(a.ready, a.parked...)
	a.parked = nil
	a.broadcast()
}

// dispatch decides about ready messages in order while there are workers.
func (a *agent) dispatch() {
	if a.phase != running || a.table == nil {
		return
	}
	if a.w.o.ordered {
		a.dispatchOrdered()
		return
	}
	var kept []*item
	ready := a.ready
	a.ready = nil
	for i, it := range ready {
		if a.running >= workers {
			kept = append(kept, ready[i:]...)
			break
		}
		if !a.gate(it.h) {
			kept = append(kept, it)
			continue
		}
		a.decide(it)
	}
	a.ready = append(kept, a.ready...)
}

func (a *agent) decide(it *item) {
	d := a.t.Start(it.meta)
	switch d.Verdict {
	case filter.Run:
		it.key = d.Key
		a.start(it)
	case filter.Wait:
		if it.m.number != "" && !it.meta.Fresh {
			a.freshen(it)
		}
		a.parked = append(a.parked, it)
	case filter.Skip:
		if it.m.number != "" {
			a.w.counts.PastCopies++
		}
		a.trace("skipped", it.meta.Origin, it.m.number+" "+d.Reason)
		a.t.Skipped(it.meta)
		a.acknowledged(it)
		a.changed = true
	case filter.Refuse:
		a.refuse(it, d)
	}
}

// freshen reads the log to its end once per copy, so that what it does not mention is known not to be there.
func (a *agent) freshen(it *item) {
	if it.freshening {
		return
	}
	it.freshening = true
	broker := it.h.q.local.Broker
	a.after(0, func() { a.readLog(broker, a.unpark) })
}

// refuse writes Close before the retry copy is acknowledged: whoever holds the message's queue reads it and re-scans.
func (a *agent) refuse(it *item, d filter.Decision) {
	a.w.counts.Refused++
	a.trace("refused", it.meta.Origin, it.m.number+" "+d.Reason)
	it.h.running++
	done := func(int64) {
		it.h.running--
		a.acknowledged(it)
		a.broadcast()
	}
	if a.w.mutation == NoCloseBeforeAck {
		done(0)
		return
	}
	a.insist(it.h.q.local.Broker, []filter.Record{*d.Close}, done)
}

// acknowledged takes a message out of its local queue's order.
func (a *agent) acknowledged(it *item) {
	if !it.rescan {
		it.h.window.Acknowledge(it.offset)
	}
}
