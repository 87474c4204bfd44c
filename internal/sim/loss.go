package sim

import (
	"context"
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/metastore/memory"
)

// history is the documents of incarnations.
type history struct {
	docs  *memory.Store
	truth map[string]*msha.Incarnations // by unit
	known map[string]*msha.Incarnations // as far as the replicators are told
}

func (h *history) of(unit string) *msha.Incarnations { return h.truth[unit] }

// known is what the replicators of a unit's queues have been told.
func (w *world) known(unit string) *msha.Incarnations { return w.history.known[unit] }

// raise begins a new incarnation of a queue. Everybody is told of it, each in his own time.
func (w *world) raise(from int64, seen msha.Origin, then func(in *msha.Incarnations, raised bool, err error)) {
	var in *msha.Incarnations
	raised := false
	w.store.do(func() (err error) {
		in, raised, err = msha.Raise(context.Background(), w.history.docs, from, seen, "")
		if err != nil {
			w.fail("no incarnation of %s: %w", seen.OriginQueue, err)
			return err
		}
		w.history.truth[seen.Unit] = in
		if raised {
			w.trace("metastore", "incarnation", msha.Origin{OriginQueue: in.At(seen.OriginQueue, from), Offset: from}, "")
		}
		w.store.tell(seen.Unit)
		return nil
	}, func(err error) { then(in, raised, err) })
}

// tell delivers the incarnations of a unit's queues to its processes and replicators.
func (s *store) tell(unit string) {
	in := s.w.history.of(unit)
	s.w.after(s.w.mostly(5, 300, 0.1, 500, 2000), func() {
		if !s.down && in.Count() > s.w.history.known[unit].Count() {
			s.w.history.known[unit] = in
			for _, q := range s.w.clusterOf(unit).home() {
				q.wake()
			}
		}
	})
	for _, a := range s.w.clusterOf(unit).agents {
		if a.alive() {
			s.w.after(s.w.mostly(5, 300, 0.1, 500, 3000), func() {
				if !s.down && !a.c.cut && !a.frozen {
					a.on(func() { a.incarnationsArrived(in) })
				}
			})
		}
	}
}

// identity is who a message is.
func (w *world) identity(m *message) msha.Origin {
	if m.lost {
		return m.was
	}
	o := m.origin
	o.OriginQueue = w.history.of(o.Unit).At(o.OriginQueue, o.Offset)
	return o
}

// loss is what a home queue has lost.
type loss struct {
	q      *queue
	c      *cluster
	from   msha.Origin // identity of the first message that is gone
	before *loss
	found  bool // somebody has copied or read some of it
	noted  bool // and all know that its offsets are used again
}

// loseTail is a broker that dies and comes back without what it had stored last, as with asynchronous flush. All it stores is one file in the
// order of time, so all its queues and logs end at the same moment: a message is never lost without the facts about it. Committed offsets go back
// too, and locks are gone. What says where a group begins, or a term, is not lost here: its loss is for people to mend (ErrMissingFacts).
func (w *world) loseTail() {
	c := pick(w.loop, w.clusters)
	c.loseTail(pick(w.loop, c.brokers), w.mostly(20, 300, 0.4, 300, 2500))
}

func (c *cluster) loseTail(broker string, d int64) {
	w := c.w
	since := max(w.now-d, c.pinned(broker))
	if since >= w.now || w.quiet {
		return
	}
	w.counts.Losses++
	w.trace(c.unit, "tail lost", msha.Origin{}, broker)
	for _, name := range c.topicNames() {
		for _, q := range c.topics[name] {
			if q.local.Broker == broker {
				c.cutOff(q, since)
				if q.local.Topic != retryTopic || w.chance(0.5) { // they are in a file of their own
					q.forgetCommits(since)
				}
			}
		}
	}
	for _, l := range append([]*factLog{c.logs[broker]}, c.copies...) {
		if l.home == broker {
			l.cutOff(since)
		}
	}
	c.redeliver(broker, since)
	for _, p := range w.pipes {
		if p.source == c && p.from.local.Broker == broker || p.target == c && p.to.local.Broker == broker {
			p.interrupted()
		}
	}
	for _, a := range c.agents {
		a.interrupted(broker)
	}
	w.manager.forget(c)
}

// pinned is when the last record was stored that says where something begins, or the last message of which another unit has lost the copy: if
// both ends lose it, nothing is left that tells it from the one that takes its place, and who had read the copy takes that for read.
func (c *cluster) pinned(broker string) (at int64) {
	for _, q := range c.home() {
		for _, m := range q.items {
			if q.local.Broker == broker && m.copyLost {
				at = max(at, m.storedAt)
			}
		}
	}
	for _, l := range append([]*factLog{c.logs[broker]}, c.copies...) {
		for _, b := range l.bodies {
			if l.home == broker && slices.ContainsFunc(b.records, func(r filter.Record) bool { return r.Kind == filter.Baseline }) {
				at = max(at, b.storedAt)
			}
		}
	}
	return at
}

// cutOff ends a queue where its broker's storage ends.
func (c *cluster) cutOff(q *queue, since int64) {
	q.holder = ""
	keep := len(q.items)
	for keep > 0 && q.items[keep-1].storedAt > since {
		keep--
	}
	gone := q.items[keep:]
	q.items = q.items[:keep:keep]
	if len(gone) == 0 {
		return
	}
	switch {
	case q.local.Topic == topic:
		c.w.counts.LostMessages += len(gone)
		c.lostAtHome(q, gone)
	case q.local.Topic == retryTopic:
		c.w.counts.LostRetries += len(gone)
	default:
		c.w.counts.LostCopies += len(gone)
		for _, m := range gone {
			m.copyLost = true
		}
	}
}

// lostAtHome notes which messages are there no more, and whether anybody may know of them.
func (c *cluster) lostAtHome(q *queue, gone []stored) {
	w := c.w
	for _, m := range gone {
		m.message.was = w.identity(m.message)
		m.message.lost = true
		w.trace(c.unit, "lost", m.message.was, m.value)
	}
	from := gone[0].was
	if l := q.loss; l != nil && !l.found && l.from.Incarnation == from.Incarnation {
		l.from.Offset = min(l.from.Offset, from.Offset)
	} else {
		q.loss = &loss{q: q, c: c, from: from, before: l}
	}
	if c.remembered(q, gone) {
		q.missed(gone[0].message)
	}
}

// missed says that somebody has copied or read a message that a home queue has lost: until all know of it, nobody knows for sure what is what.
func (q *queue) missed(m *message) {
	for l := q.loss; l != nil; l = l.before {
		if l.found || l.raised() || m.was.Incarnation != l.from.Incarnation || m.was.Offset < l.from.Offset {
			continue
		}
		l.found = true
		for _, m := range q.items[min(l.from.Offset, q.end()):] {
			q.w.journal.early(m.message)
		}
		q.w.after(q.w.between(1500, 4000), l.raise)
	}
}

// remembered tells whether lost messages were copied, or read by anybody.
func (c *cluster) remembered(q *queue, gone []stored) bool {
	lost := map[*message]bool{}
	for _, m := range gone {
		lost[m.message] = true
	}
	for _, p := range c.w.pipes {
		if p.from != q {
			continue
		}
		for _, m := range p.to.items {
			if lost[m.message] {
				return true
			}
		}
	}
	for _, a := range c.agents {
		if h := a.held[q.local]; h != nil && !a.dead && h.next > q.end() || a.left[q.local].next > q.end() {
			return true
		}
	}
	return q.committed > q.end()
}

func (l *loss) raised() bool {
	_, used := l.c.w.history.of(l.c.unit).After(l.from)
	return used
}

// raise is a person who begins a new incarnation where no replicator has copied anything that was lost, because a consumer misses it.
func (l *loss) raise() {
	if l.raised() {
		return
	}
	l.c.w.raise(l.from.Offset, l.from, func(_ *msha.Incarnations, raised bool, err error) {
		if err != nil {
			l.c.w.after(200, l.raise)
		} else if raised {
			l.c.w.counts.RaisedByHand++
		}
	})
}

// unknown tells whether a queue has lost messages that somebody knew, and not all who copy or consume it know that.
func (q *queue) unknown() bool {
	for l := q.loss; l != nil; l = l.before {
		if l.found && !l.known() {
			return true
		}
	}
	return false
}

func (l *loss) known() bool {
	if l.noted || !l.raised() {
		return l.noted
	}
	newest := l.c.w.history.of(l.c.unit).Newest(l.q.origin)
	for _, p := range l.c.w.pipes {
		if p.from == l.q && p.in.Newest(l.q.origin) < newest {
			return false
		}
	}
	for _, a := range l.c.agents {
		if h := a.held[l.q.local]; a.alive() && (a.in.Newest(l.q.origin) < newest || h != nil && h.in.Newest(l.q.origin) < newest) {
			return false
		}
	}
	l.noted = true
	return true
}

// early notes a message that is stored where others were lost, before everybody knows: it may be processed under the identity of a lost one,
// and again under its own. The lost one may be taken for processed.
func (j *journal) early(m *message) {
	m.early, j.excused[m] = true, true
	j.w.counts.Early++
	for _, other := range j.w.produced {
		if other.lost && other.origin.OriginQueue == m.origin.OriginQueue && other.origin.Offset == m.origin.Offset {
			other.shadowed = true
		}
	}
}

// owed tells whether a message has to be processed. One that its broker lost is owed where it was copied, once its route is there.
func (w *world) owed(m *message) bool {
	if m.unwanted || !m.lost {
		return !m.unwanted
	}
	set, _ := w.store.table.Lookup(m.value, m.unit)
	if m.shadowed || set.Owner == m.unit {
		return false
	}
	for _, c := range w.clusterOf(set.Owner).replicaOf(m.origin.OriginQueue).items {
		if c.message == m {
			return true
		}
	}
	return false
}

func (q *queue) forgetCommits(since int64) {
	for len(q.commits) > 0 && q.commits[len(q.commits)-1].at > since {
		q.commits = q.commits[:len(q.commits)-1]
	}
	q.committed = -1
	if n := len(q.commits); n > 0 {
		q.committed = q.commits[n-1].offset
	}
}

// cutOff ends a log where its broker's storage ends. What was recorded only there may repeat.
func (l *factLog) cutOff(since int64) {
	keep := len(l.bodies)
	for keep > 0 && l.bodies[keep-1].storedAt > since {
		keep--
		b := l.bodies[keep]
		b.lost = true
		l.w.counts.LostFacts++
		for _, r := range b.records {
			switch own := l.w.clusterOf(l.unit).logs[l.broker] == l; {
			case own && r.Kind == filter.Hold:
				l.w.clusterOf(l.unit).lostHold(r)
			case own && r.Number != "":
				l.w.journal.lostAttempt(r)
			}
		}
	}
	lost := keep < len(l.bodies)
	l.bodies = l.bodies[:keep:keep]
	if lost {
		for m, b := range l.w.journal.recorded {
			if b.lost {
				l.w.journal.excused[m] = true
			}
		}
	}
}

// lostAttempt is where nobody can know of a retry any more: the message may be begun again while its copy runs, or the copy though it was refused.
func (j *journal) lostAttempt(r filter.Record) {
	for _, m := range j.w.produced {
		if j.w.identity(m) == r.Origin() {
			j.excused[m] = true
		}
	}
}

// lostHold is where nobody can know of a holder any more, whose lock is lost too: what it works on may be begun by the next one.
func (c *cluster) lostHold(r filter.Record) {
	for _, a := range c.agents {
		if h := a.held[r.Local]; h != nil && a.writer == r.Writer && a.alive() {
			h.unknown = true
			a.excuse()
		}
	}
}

// delayed is a retry copy on its way to the retry topic.
type delayed struct {
	m         stored
	broker    string
	storedAt  int64
	delivered int64 // -1: not yet
	lost      bool
}

// delay stores a retry copy that the broker will put into the retry topic later.
func (c *cluster) delay(broker string, m stored) {
	d := &delayed{m: m, broker: broker, storedAt: c.w.now, delivered: -1}
	c.delays = append(c.delays, d)
	if c.w.o.losses > 0 && c.w.chance(0.02) { // before it is written down that the copy is stored
		c.w.after(c.w.between(1, 15), func() { c.loseTail(broker, c.w.between(16, 60)) })
	}
	c.w.after(c.w.between(100, 1500), func() { c.deliver(d) })
}

func (c *cluster) deliver(d *delayed) {
	if d.lost {
		return
	}
	d.delivered = c.w.now
	c.retry(d.broker).append(d.m)
}

// redeliver puts copies into the retry topic once more that a broker had put there and lost; those that it had stored afterwards are lost.
func (c *cluster) redeliver(broker string, since int64) {
	for _, d := range c.delays {
		switch {
		case d.broker != broker || d.lost:
		case d.storedAt > since:
			d.lost = true
		case d.delivered > since:
			c.w.after(c.w.between(1, 100), func() { c.deliver(d) })
		}
	}
}

func len64[T any](list []T) int64 { return int64(len(list)) }
