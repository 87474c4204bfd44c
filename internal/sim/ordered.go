package sim

import "slices"

// dispatchOrdered decides about the lowest message of each queue, one after the other.
func (a *agent) dispatchOrdered() {
	for _, h := range a.heldSorted() {
		for a.running < workers && a.w.now >= h.resumeAt {
			it := a.lowest(h)
			if it == nil || !a.gate(h) || !h.lane.Free(it.rescan || a.w.mutation == LiveBeforeRescan) {
				break
			}
			a.ready = slices.DeleteFunc(a.ready, func(other *item) bool { return other == it })
			waiting := len(a.parked)
			a.decide(it)
			if len(a.parked) > waiting {
				h.lane.Stick()
			}
		}
	}
}

// lowest is the ready message of a queue that was stored first.
func (a *agent) lowest(h *held) (low *item) {
	for _, it := range a.ready {
		if it.h == h && (low == nil || it.meta.Origin.Compare(low.meta.Origin) < 0) {
			low = it
		}
	}
	return low
}

// suspend takes a failed message back into its queue, which waits for a while.
func (a *agent) suspend(it *item) {
	a.w.counts.OrderedFailures++
	a.t.Unstart(it.meta)
	it.m.attempt++
	it.h.running--
	it.h.lane.End()
	a.running--
	if !it.h.dropped {
		a.ready = append(a.ready, it)
	}
	d := a.w.between(20, 400)
	it.h.resumeAt = a.w.now + d
	a.after(d, a.broadcast)
	a.broadcast()
}

// unsettle says that something may have become pending in any queue: what was lined up to be read again is forgotten.
func (a *agent) unsettle() {
	if !a.w.o.ordered {
		return
	}
	for _, h := range a.held {
		h.lane.Unsettle()
	}
	forget := func(it *item) bool {
		if it.rescan {
			a.t.Forget(it.meta)
		}
		return it.rescan
	}
	a.ready = slices.DeleteFunc(a.ready, forget)
	for _, it := range a.parked {
		if it.rescan {
			it.h.lane.Unstick()
		}
	}
	a.parked = slices.DeleteFunc(a.parked, forget)
}

// settling begins a re-scan of all queues; the function it returns ends it.
func (a *agent) settling() (settle func()) {
	scans, began := map[*held]uint64{}, a.t.Current()
	for _, h := range a.held {
		if h.ready {
			scans[h] = h.lane.Scan()
		}
	}
	return func() {
		for h, n := range scans {
			h.lane.Settle(n, began, a.t.Current())
		}
		a.broadcast()
	}
}
