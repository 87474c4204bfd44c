package sim

import (
	"errors"
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/parting"
)

// settleTime is how long a loss at the origin has to be seen before a replicator believes it.
const settleTime = 200

// pipe copies one origin queue to one replica queue, in order and late. After a restart it may send its last batch again. Whenever a broker at
// one of its ends was away, it looks where to go on: what both ends hold decides, as in package replicate.
type pipe struct {
	w              *world
	from, to       *queue
	source, target *cluster
	next           int // origin offset
	batch          int // length of the last batch

	in      *msha.Incarnations
	stale   bool  // one of the brokers was away since it looked
	away    int   // counts the times
	doubted int64 // since when the origin seems to have lost what was copied
}

func (p *pipe) run() {
	lag := p.w.mostly(10, 150, 0.05, 500, 3000)
	p.w.after(lag, func() {
		switch {
		case p.severed():
			p.w.after(200, p.run)
			return
		case p.stale || p.in.Newest(p.from.origin) < p.w.known(p.source.unit).Newest(p.from.origin):
			p.look()
			return
		}
		if p.w.o.crashes && p.batch > 0 && p.w.chance(0.03) {
			p.next -= p.batch
			p.w.counts.ReplicatorRepeats++
			p.w.trace("replicator", "batch repeated", p.from.items[p.next].origin, "")
		}
		if n := min(len(p.from.items)-p.next, int(p.w.between(1, 6))); n > 0 {
			for i, m := range p.from.items[p.next : p.next+n] {
				off := int64(p.next + i)
				m.id = msha.Origin{OriginQueue: p.in.At(p.from.origin, off), Offset: off}
				p.to.append(m)
			}
			p.next, p.batch = p.next+n, n
		}
		if p.next < len(p.from.items) {
			p.run()
		} else {
			p.from.waiting = append(p.from.waiting, p.run)
		}
	})
}

func (p *pipe) severed() bool { return p.source.cut || p.target.cut }

// look finds the next offset to copy.
func (p *pipe) look() {
	if in := p.w.known(p.source.unit); in.Count() > p.in.Count() {
		p.in = in
	}
	next, seen, err := p.locate()
	switch {
	case errors.Is(err, parting.ErrChanged) && p.doubted == 0:
		p.doubted = p.w.now
		p.run()
	case errors.Is(err, parting.ErrChanged) && p.w.now-p.doubted < settleTime:
		p.run()
	case errors.Is(err, parting.ErrChanged):
		p.renew(seen)
	case errors.Is(err, msha.ErrInvalid) && p.in.Count() < p.w.history.of(p.source.unit).Count():
		p.w.after(50, p.run) // another replicator has raised the incarnation; reading the document tells
	case err != nil:
		p.w.fail("%s is not copied on: %w", p.from.origin, err)
	default:
		p.resume(int(next))
	}
}

func (p *pipe) resume(next int) {
	if p.w.mutation == NoTail {
		next = min(max(next, p.next), len(p.from.items)) // a checkpoint of what was sent
	}
	p.next, p.batch, p.stale, p.doubted = next, 0, false, 0
	p.w.counts.Resumed++
	p.w.trace("replicator", "resumed", msha.Origin{OriginQueue: p.from.origin, Offset: int64(next)}, p.target.unit)
	p.run()
}

// locate decides by the tail of the replica queue.
func (p *pipe) locate() (next int64, seen msha.Origin, err error) {
	tail := p.furthest()
	if tail == nil {
		return 0, seen, nil
	}
	seen = tail.id
	same := seen.Offset >= p.from.end() || p.from.items[seen.Offset].message == tail.message || p.w.mutation == NoFingerprint
	next, err = parting.Resume(p.from.origin, p.in, seen, same, 0, p.from.end())
	if errors.Is(err, parting.ErrChanged) && p.w.mutation == NoFingerprint {
		return p.from.end(), seen, nil
	}
	if next <= seen.Offset && err == nil { // its offset was used again: what the copies before it are of may have changed too
		before := max(next-1, 0)
		seen = msha.Origin{OriginQueue: p.in.At(p.from.origin, before), Offset: before}
		if part := p.part(); part.Differ && part.From < next {
			err = parting.ErrChanged
		}
	}
	return next, seen, err
}

// furthest is what was copied last: the last message of the replica queue, or one shortly before it that is of a later message.
func (p *pipe) furthest() (tail *stored) {
	for i := len(p.to.items) - 1; i >= max(0, len(p.to.items)-12); i-- {
		if m := &p.to.items[i]; tail == nil || m.id.Compare(tail.id) > 0 {
			tail = m
		}
	}
	return tail
}

// part finds where the two queues part.
func (p *pipe) part() parting.Part {
	copies, end := p.to.items, p.from.end()
	judge := func(place, to int64) (*parting.Copy, error) {
		for ; place < to; place++ {
			m := copies[place]
			if p.in.At(m.id.OriginQueue, m.id.Offset) != m.id.OriginQueue {
				continue
			}
			c := &parting.Copy{Place: place, Origin: m.id}
			if c.Against(0, end) {
				c.Kept = p.from.items[m.id.Offset].message == m.message
				c.Differs = !c.Kept
			}
			return c, nil
		}
		return nil, nil
	}
	before := func(place int64) (int64, bool, error) {
		first := place
		for first > 0 && copies[first-1].id == previous(copies[first].id) {
			first--
		}
		return first - 1, first > 0 && copies[first-1].id.Compare(copies[place].id) > 0, nil
	}
	part, _ := parting.Search(0, int64(len(copies)), 0, judge, before)
	return part
}

func previous(o msha.Origin) msha.Origin {
	o.Offset--
	return o
}

// renew begins a new incarnation where the queues part.
func (p *pipe) renew(seen msha.Origin) {
	part := p.part()
	from := part.From
	if !part.Common {
		from = 0
	}
	away := p.away
	p.w.raise(from, seen, func(in *msha.Incarnations, raised bool, err error) {
		if err == nil && raised {
			p.w.counts.Raised++
			p.in = in
		}
		if err != nil || !raised || p.away > away { // it looks again
			p.w.after(100, p.run)
			return
		}
		p.resume(int(from))
	})
}

// interrupted ends what relied on a connection to a broker.
func (p *pipe) interrupted() {
	p.stale = true
	p.away++
	waiting := p.from.waiting
	p.from.waiting = nil
	for _, f := range waiting {
		f()
	}
}

// logPipe copies a fact log to another unit.
type logPipe struct {
	w        *world
	from, to *factLog
	target   *cluster
}

func (p *logPipe) run() {
	p.w.after(p.w.mostly(10, 200, 0.05, 500, 3000), func() {
		if p.w.clusterOf(p.from.unit).cut || p.target.cut {
			p.w.after(200, p.run)
			return
		}
		for _, b := range p.from.bodies[p.position():] {
			p.to.append(&body{records: b.records, offset: b.offset, of: b})
		}
		p.from.waiting = append(p.from.waiting, p.run)
	})
}

// position is behind the last copy whose original is still there.
func (p *logPipe) position() int {
	for _, b := range slices.Backward(p.to.bodies) {
		if b.offset < len64(p.from.bodies) && p.from.bodies[b.offset] == b.of {
			return int(b.offset) + 1
		}
	}
	return 0
}
