package replicate

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// errChanged says that the origin queue does not hold what was copied from it.
var errChanged = errors.New("what was copied is not there any more")

// errRaised ends a session whose queue got another incarnation.
var errRaised = errors.New("a new incarnation of the queue was raised")

// standing is what both ends of a queue show.
type standing struct {
	next int64       // origin offset to copy next
	seen msha.Origin // what was copied last, of the messages before next
	low  int64       // of the origin queue
	high int64       //
}

// renew goes on after the origin queue has changed below what was copied. A queue that has the beginning of what was copied has lost its
// tail: a new incarnation begins where the two part. One that has nothing of it was recreated, or has lost all it had: that is for people
// to decide.
func (s *session) renew(ctx context.Context, at standing, why error) (next int64, err error) {
	if err := s.history.Refresh(ctx); err != nil {
		return 0, err
	}
	if s.history.Now().Newest(s.from) != s.in.Newest(s.from) {
		return 0, errRaised
	}
	p, err := s.parting(ctx, at)
	if err != nil {
		return 0, err
	}
	from, reason := p.from, "the broker lost its tail"
	if !p.common {
		if s.opts.OnGap != Skip {
			return 0, finalError{msha.Errorf("replicate.resume", s.from.String(),
				"if its topic was recreated, or its broker came back empty, choose OnGap: Skip: all it holds now is then copied as a new incarnation",
				"%w: the queue holds nothing of what was copied up to offset %d, it has offsets %d to %d: %w", msha.ErrGap, at.seen.Offset, at.low, at.high-1, why)}
		}
		from, reason = at.low, "the topic was recreated"
	}
	in, raised, err := s.history.Raise(ctx, from, at.seen, reason)
	if err != nil {
		return 0, err
	}
	if !raised {
		return 0, errRaised
	}
	s.in = in
	s.count.raised.Add(1)
	s.log.Error("the origin has lost messages that were copied, its offsets are used again: copying goes on with a new incarnation of the queue",
		"reason", reason, "lost", at.seen.Offset+1-from, "from", from, "to", at.seen.Offset, "incarnation", in.Newest(s.from))
	return from, nil
}

// part is where a replica queue and its origin queue part.
type part struct {
	from   int64 // offset behind the last copy whose original is still there, and not beyond one whose original is not
	common bool  // there is such a copy
	differ bool  // there is a copy whose original is not
	least  int64 // the lowest offset of those
}

// parting searches, from the end on, for the place up to which copies have their originals: they are in the order of the origin. If the
// place lies in a batch that a replaced process had on its way, behind copies that are further, it searches those.
func (s *session) parting(ctx context.Context, at standing) (p part, err error) {
	first, err := s.remote.MinOffset(ctx, s.target)
	if err != nil {
		return p, err
	}
	for end := s.end; ; {
		last, err := s.lastKept(ctx, first, end, at, &p)
		if err != nil {
			return p, err
		}
		if last == nil {
			break
		}
		before, err := beforeRun(ctx, s.remote, s.target, max(first, last.QueueOffset-int64(s.opts.BatchMessages)), last)
		if err != nil {
			return p, err
		}
		if before == nil || !further(before, last) {
			break
		}
		end = before.QueueOffset + 1
	}
	if p.differ {
		p.from = min(p.from, p.least)
	}
	return p, nil
}

// lastKept is the last copy before end that has its original, if all before it have theirs and none behind it; nil if there is none.
func (s *session) lastKept(ctx context.Context, first, end int64, at standing, p *part) (last *remoting.Message, err error) {
	kept, parted := first-1, end // before the first copy; behind the last one
	probe := func(place int64) error {
		j, err := s.judge(ctx, place, parted, at)
		if err != nil {
			return err
		}
		p.note(j, at.low)
		if j.kept {
			kept, last = j.copy.QueueOffset, j.copy
		} else {
			parted = place
		}
		return nil
	}
	for step := int64(1); err == nil && last == nil && end-step >= first; step *= 2 {
		err = probe(end - step)
	}
	for err == nil && parted-kept > 1 {
		err = probe(kept + (parted-kept)/2)
	}
	return last, err
}

func (p *part) note(j judgement, low int64) {
	if j.differs && (!p.differ || j.origin.Offset < p.least) {
		p.differ, p.least = true, j.origin.Offset
	}
	if j.kept && j.origin.Offset >= low {
		p.from, p.common = max(p.from, j.origin.Offset+1), true
	}
}

// compare looks for the last copy before the position, where it is not the last in the replica queue.
func (s *session) compare(ctx context.Context, at standing) error {
	p, err := s.parting(ctx, at)
	if err == nil && p.differ && p.from < at.next {
		return fmt.Errorf("%w: the messages from offset %d on are not the ones that were copied", errChanged, p.from)
	}
	return err
}

// judgement is what one copy tells.
type judgement struct {
	copy    *remoting.Message // nil: there is none
	origin  msha.Origin
	kept    bool // the origin holds its original, or held it before its messages expired
	differs bool // the origin holds something else, or nothing yet
}

// judgedPage is how many copies are read to find one whose offset was not used again: the first one, as a rule.
const judgedPage = 8

// judge finds the first copy from a place on whose offset was not used again since, and compares it. There may be none before end.
func (s *session) judge(ctx context.Context, place, end int64, at standing) (j judgement, err error) {
	for place < end {
		res, err := s.remote.Pull(ctx, remoting.PullRequest{Queue: s.target, Group: readerGroup, Offset: place, Max: judgedPage})
		if err != nil {
			return j, err
		}
		if len(res.Messages) == 0 {
			return j, errMoved
		}
		for _, c := range res.Messages {
			o, err := msha.ParseOrigin(c.Properties[msha.PropertyOrigin])
			if err != nil || s.in.At(o.OriginQueue, o.Offset) != o.OriginQueue {
				continue
			}
			j = judgement{copy: c, origin: o}
			switch {
			case c.QueueOffset >= end:
				return judgement{}, nil
			case o.Offset >= at.high:
				j.differs = true
				return j, nil
			case o.Offset < at.low:
				j.kept = true
				return j, nil
			}
			original, err := messageAt(ctx, s.origin, s.source, o.Offset)
			if err != nil {
				return j, err
			}
			j.kept = sameMessage(original, c)
			j.differs = !j.kept
			return j, nil
		}
		place = res.NextOffset
	}
	return j, nil
}
