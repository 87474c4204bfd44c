package replicate

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/parting"
	"github.com/go-msha/msha/internal/remoting"
)

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
	from, reason := p.From, "the broker lost its tail"
	if !p.Common {
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

// parting searches for the place where the replica queue and the origin queue part.
func (s *session) parting(ctx context.Context, at standing) (parting.Part, error) {
	first, err := s.remote.MinOffset(ctx, s.target)
	if err != nil {
		return parting.Part{}, err
	}
	var kept *remoting.Message // judged last
	judge := func(place, end int64) (*parting.Copy, error) {
		c, m, err := s.judge(ctx, place, end, at)
		if c != nil && c.Kept {
			kept = m
		}
		return c, err
	}
	return parting.Search(first, s.end, at.low, judge, func(int64) (int64, bool, error) {
		before, err := beforeRun(ctx, s.remote, s.target, max(first, kept.QueueOffset-int64(s.opts.BatchMessages)), kept)
		if err != nil || before == nil {
			return 0, false, err
		}
		return before.QueueOffset, further(before, kept), nil
	})
}

// compare looks for the last copy before the position, where it is not the last in the replica queue.
func (s *session) compare(ctx context.Context, at standing) error {
	p, err := s.parting(ctx, at)
	if err == nil && p.Differ && p.From < at.next {
		return fmt.Errorf("%w: the messages from offset %d on are not the ones that were copied", parting.ErrChanged, p.From)
	}
	return err
}

// judgedPage is how many copies are read to find one whose offset was not used again: the first one, as a rule.
const judgedPage = 8

// judge finds the first copy from a place on whose offset was not used again since, and compares it. There may be none before end.
func (s *session) judge(ctx context.Context, place, end int64, at standing) (*parting.Copy, *remoting.Message, error) {
	for place < end {
		res, err := s.remote.Pull(ctx, remoting.PullRequest{Queue: s.target, Group: readerGroup, Offset: place, Max: judgedPage})
		if err != nil {
			return nil, nil, err
		}
		if len(res.Messages) == 0 {
			return nil, nil, errMoved
		}
		for _, m := range res.Messages {
			o, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
			if err != nil || s.in.At(o.OriginQueue, o.Offset) != o.OriginQueue {
				continue
			}
			if m.QueueOffset >= end {
				return nil, nil, nil
			}
			c := &parting.Copy{Place: m.QueueOffset, Origin: o}
			if c.Against(at.low, at.high) {
				original, err := messageAt(ctx, s.origin, s.source, o.Offset)
				if err != nil {
					return nil, nil, err
				}
				c.Kept = sameMessage(original, m)
				c.Differs = !c.Kept
			}
			return c, m, nil
		}
		place = res.NextOffset
	}
	return nil, nil, nil
}
