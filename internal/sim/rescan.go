package sim

import (
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// scan reads again what the terms still have to process below the pull positions. There is no timer behind it: whatever makes
// something pending must call it; but for copies that were lost.
func (a *agent) scan() {
	if a.scanning {
		a.again = true
		return
	}
	a.scanning = true
	a.after(a.w.between(1, 20), func() {
		a.again = false
		settle := a.settling()
		var steps []func(func())
		for _, q := range a.t.Held() {
			steps = append(steps, func(then func()) { a.scanQueue(q, then) })
		}
		a.inTurn(steps, func() {
			a.scanning = false
			if a.again {
				a.scan()
				return
			}
			settle()
		})
	})
}

// holding is the held queue of an origin queue, if it may be re-scanned.
func (a *agent) holding(q msha.OriginQueue) *held {
	local, ok := a.t.LocalOf(q)
	if h := a.held[local]; ok && h != nil && h.ready && !h.dropped {
		return h
	}
	return nil
}

// pending is what the tracker wants read again.
func (a *agent) pending(h *held, q msha.OriginQueue) filter.Offsets {
	pending := a.t.Pending(q)
	if a.w.mutation == NoRescanOnAcquire {
		pending = pending.Minus(filter.Range(0, h.acquiredAt))
	}
	return pending
}

// scanQueue reads the spans of one queue with the group's own subscription; what is not found was filtered out.
func (a *agent) scanQueue(q msha.OriginQueue, then func()) {
	h := a.holding(q)
	var scan uint64
	if h != nil {
		scan = h.lane.Scan()
	}
	if h == nil || a.pending(h, q).Empty() {
		then()
		return
	}
	a.w.counts.Rescans++
	wanted := a.pending(h, q)
	type found struct {
		m      stored
		offset int64
	}
	var got []found
	short, end := false, int64(0)
	a.call(func() {
		end = h.endOf(q)
		if short = h.q.end() < h.next; short {
			return
		}
		for i, m := range h.q.items {
			if id := h.identity(m, int64(i)); id.OriginQueue == q && wanted.Contains(id.Offset) && !m.unwanted {
				got = append(got, found{m, int64(i)})
			}
		}
	}, func(err error) {
		if err != nil || short {
			a.again = true
		}
		if err != nil || short || h.dropped || a.w.o.ordered && h.lane.Stale(scan) {
			then()
			return
		}
		pending := a.pending(h, q).Intersect(wanted)
		gone := slices.Clone(pending)
		for _, f := range got {
			off := h.identity(f.m, f.offset).Offset
			gone = gone.Minus(filter.Range(off, off+1))
			if !pending.Contains(off) || !a.t.Pending(q).Contains(off) {
				continue
			}
			it := a.itemOf(h, f.m, f.offset)
			it.rescan = true
			a.w.counts.Rescanned++
			if a.w.o.ordered {
				a.w.counts.OrderedRescanned++
			}
			a.t.Reread(it.meta)
			a.ready = append(a.ready, it)
		}
		if a.w.mutation != AbsentBeyondEnd {
			if later := gone.Minus(filter.Range(0, end)); !later.Empty() {
				a.after(tick, a.scan) // it will be copied again, or never
			}
			gone = gone.Below(end)
		}
		a.t.Absent(q, gone)
		a.broadcast()
		then()
	})
}

// endOf is where an origin queue ends in a local one, as far as it is there: what its broker has lost of it will be copied again.
func (h *held) endOf(q msha.OriginQueue) (end int64) {
	if h.home() {
		return filter.End
	}
	for _, m := range h.q.items {
		switch {
		case m.id.Incarnation > q.Incarnation:
			return filter.End
		case m.id.OriginQueue == q:
			end = max(end, m.id.Offset+1)
		}
	}
	return end
}
