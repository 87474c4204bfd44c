package sim

import (
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// consumerSettle is how long a queue may seem to have lost what was read before a consumer believes it.
const consumerSettle = 1500

// seen is the message that a generation has read last: by it a queue is recognized that was cut off.
type seen struct {
	m        *message
	at       int64 // local offset
	storedAt int64
}

// leftover is what a process remembers of a generation.
type leftover struct {
	last      *seen
	next      int64
	committed int64
	queue     msha.OriginQueue // of the last message
	lost      bool             // its broker lost its tail
}

// identity is who a stored message is, as this generation knows.
func (h *held) identity(m stored, offset int64) msha.Origin {
	if h.home() {
		return msha.Origin{OriginQueue: h.in.At(h.q.origin, offset), Offset: offset}
	}
	return m.id
}

// incarnationsArrived gives up queues with a new incarnation; they are taken again.
func (a *agent) incarnationsArrived(in *msha.Incarnations) {
	if in.Count() <= a.in.Count() {
		return
	}
	a.in = in
	for _, h := range a.heldSorted() {
		if h.ready && a.raised(h) {
			a.trace("incarnation raised", msha.Origin{}, h.q.local.String())
			a.giveUp(h)
		}
	}
}

func (a *agent) raised(h *held) bool {
	return h.home() && h.in.Newest(h.q.origin) != a.in.Newest(h.q.origin)
}

// interrupted says that the connection to a broker ended.
func (a *agent) interrupted(broker string) {
	a.away++
	for _, h := range a.heldSorted() {
		if h.q.local.Broker == broker && h.suspect == 0 {
			h.suspect = a.w.now
		}
	}
	for _, f := range a.logs {
		if f.log.home == broker {
			f.suspect = true
		}
	}
}

// missing tells whether the message read last is not where it was: nothing is there, or another one.
func (h *held) missing() (gap, reused bool) {
	if h.last == nil || h.home() && h.q.w.mutation == NoFingerprint {
		return false, false
	}
	if h.last.at >= h.q.end() {
		return true, false
	}
	there := h.q.items[h.last.at]
	return false, there.message != h.last.m || there.storedAt != h.last.storedAt
}

// parted ends the reading of a queue whose broker lost what was read. Replica and retry queues are taken again: their messages carry their
// identities. A home queue waits for its incarnation.
func (a *agent) parted(h *held) {
	a.trace("queue lost its tail", msha.Origin{}, h.q.local.String())
	a.w.counts.Parted++
	h.done = true
	h.lost = !h.home()
	switch {
	case h.home():
		h.q.missed(h.last.m)
		a.broadcast()
	case h.retry():
		a.commit(h, 0, func() { a.giveUp(h) })
	default:
		a.giveUp(h)
	}
}

// carry gives what a generation has done its new identities, if it has a new incarnation by now and has not read anything that was lost.
func (a *agent) carry(h *held, then func()) {
	if !h.ready || h.last == nil || !a.raised(h) {
		then()
		return
	}
	gap, reused := false, false
	a.call(func() { gap, reused = h.missing() }, func(err error) {
		switch {
		case err != nil:
			a.after(50, func() { a.carry(h, then) })
		case gap || reused:
			then()
		default:
			a.w.counts.Carried++
			closes := a.t.CarryOver(h.q.origin, h.in, a.in, h.first, h.last.at+1)
			if len(closes) == 0 {
				then()
				return
			}
			a.insist(h.q.local.Broker, closes, func(int64) { then() })
		}
	})
}

// start is where a generation begins to read, by what is committed and where the queue ends; skip is where somebody else wants it to be read
// on. ok is false if the queue cannot be opened now.
//
// Facts precede commits, so an offset beyond them is somebody else's; but only if the log was read behind it: a holder that was passed
// over may publish and commit just now. behind is the highest offset of which that is known.
func (a *agent) startOffset(h *held, committed, high, behind int64) (start, skip int64, ok, again bool) {
	facts, left := a.t.Facts(), a.left[h.q.local]
	if read, _ := facts.Read(h.q.local); h.retry() && a.w.mutation != NoRetryPosition {
		committed = min(committed, read)
	}
	switch {
	case h.retry() && left.lost:
		return 0, -1, true, false
	case committed < 0 && h.home():
		committed, _ = facts.Baseline(h.q.origin)
	case committed < 0:
		committed = 0
	case h.home():
		if read, known := facts.ReadUpTo(h.q.origin, h.in); known && committed > read && committed <= high {
			return read, committed, read <= high, committed > behind
		}
	}
	if committed > high && !h.home() { // what is there carries its identity: the facts tell what is done, and the numbers which copies are live
		if h.retry() {
			return 0, -1, true, false
		}
		return high, -1, true, false
	}
	if committed > high {
		newest := h.q.origin
		newest.Incarnation = h.in.Newest(newest)
		if h.home() && newest.Incarnation > 0 && facts.Next(newest) <= high {
			return high, -1, true, false
		}
		return 0, -1, false, false
	}
	if left.last != nil && left.committed >= committed && !left.usedAgain(h) {
		h.last = left.last
		if gap, reused := h.missing(); (gap || reused) && h.home() {
			h.q.missed(h.last.m)
			return 0, -1, false, false
		} else if gap || reused {
			h.last = nil
			if h.retry() {
				committed = 0
			}
		}
	}
	return committed, -1, true, false
}

func (h *held) leftover() leftover {
	l := leftover{last: h.last, next: h.next, committed: h.committed, lost: h.lost}
	if h.home() && h.last != nil {
		l.queue = h.in.At(h.q.origin, h.last.at)
	}
	return l
}

// usedAgain tells whether it is known that other messages are stored where the last one of a generation was.
func (l *leftover) usedAgain(h *held) bool {
	_, used := h.in.After(msha.Origin{OriginQueue: l.queue, Offset: l.last.at})
	return used
}

// baselines are the records that say where the group begins, of the incarnations of which it is not known.
func (a *agent) baselines(h *held, start int64) []filter.Record {
	if _, managed := a.t.Facts().Baseline(h.q.origin); managed {
		start = 0
	}
	return slices.DeleteFunc(filter.Baselines(group, h.q.origin, start, h.in), func(r filter.Record) bool {
		_, known := a.t.Facts().Baseline(r.Queue)
		return known
	})
}

// skipTo passes over what somebody else has committed.
func (a *agent) skipTo(h *held, to int64) {
	a.trace("skipped to a foreign offset", msha.Origin{}, h.q.local.String())
	a.w.counts.ForeignCommits++
	for _, part := range h.in.Split(h.q.origin, h.next, to) {
		a.t.Acquire(h.q.local, part.Queue, max(part.From, a.t.Facts().Next(part.Queue)))
		a.t.PassOver(part.Queue, part.To)
	}
	h.next = to
}

// afterAway is what a process does once one of its unit's logs is verified: what it had written there may be lost before anybody read it.
func (a *agent) afterAway(broker string) {
	waited := a.t.Waiting()
	a.readLog(broker, func() {
		if rs := a.t.Unsent(broker, waited); len(rs) > 0 && a.w.mutation != UnsentStays {
			a.w.counts.Unsent += len(rs)
			a.insist(broker, rs, func(int64) {})
		}
	})
}

// logLost is what a process does once it sees that one of its unit's logs has lost records that it had read: what it believes is not what others
// read. It finishes what runs, writes again what it has done, gives its queues back and reads the logs anew, as another process would.
func (a *agent) logLost(broker string) {
	a.t.Remember(broker)
	if a.anew || a.phase != running {
		return
	}
	a.trace("log lost its tail", msha.Origin{}, broker)
	a.w.counts.LogsLost++
	a.anew = true
	for _, h := range a.heldSorted() {
		// What followed the retry copies that are acknowledged may be lost: they are wanted again.
		h.unsaid = h.unsaid || h.retry() && h.q.local.Broker == broker && a.w.mutation != RetriesStay
		a.giveUp(h)
	}
	a.await(func() bool { return len(a.held) == 0 && a.running == 0 }, func() {
		a.publish(a.beginAnew)
	})
}

func (a *agent) beginAnew() {
	a.t = a.t.Anew()
	for _, f := range a.logs {
		f.next, f.last, f.wrote = 0, nil, nil
		f.wake()
	}
	a.anew = false
	a.trace("begun anew", msha.Origin{}, "")
	t := a.table
	a.table = nil
	a.tableArrived(t)
	for _, broker := range a.c.brokers {
		a.afterAway(broker)
	}
	a.heartbeatSoon()
}

// releaseStrays writes a Release for queues that the log says this process holds and it does not: the one that it wrote is lost.
func (a *agent) releaseStrays() {
	for _, local := range a.t.Facts().HeldBy(a.writer) {
		if a.held[local] == nil && !a.anew {
			r := filter.Record{Kind: filter.Release, Group: group, Client: a.client, Writer: a.writer, Local: local}
			a.write(local.Broker, []filter.Record{r}, func(int64, error) {})
		}
	}
}
