package sim

import (
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// scan reads again what the terms still have to process below the pull positions. There is no timer behind it: whatever makes
// something pending must call it.
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
	a.call(func() {
		for i, m := range h.q.items {
			if m.origin.OriginQueue == q && wanted.Contains(m.origin.Offset) && !m.unwanted {
				got = append(got, found{m, int64(i)})
			}
		}
	}, func(err error) {
		if err != nil {
			a.again = true
		}
		if err != nil || h.dropped || a.w.o.ordered && h.lane.Stale(scan) {
			then()
			return
		}
		pending := a.pending(h, q).Intersect(wanted)
		gone := slices.Clone(pending)
		for _, f := range got {
			off := f.m.origin.Offset
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
		a.t.Absent(q, gone)
		a.broadcast()
		then()
	})
}
