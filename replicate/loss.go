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
	if err := s.history.refresh(ctx); err != nil {
		return 0, err
	}
	if s.history.now().Newest(s.from) != s.in.Newest(s.from) {
		return 0, errRaised
	}
	from, common, err := s.parting(ctx, at)
	if err != nil {
		return 0, err
	}
	reason := "the broker lost its tail"
	if !common {
		if s.opts.OnGap != Skip {
			return 0, finalError{msha.Errorf("replicate.resume", s.from.String(),
				"if its topic was recreated, or its broker came back empty, choose OnGap: Skip: all it holds now is then copied as a new incarnation",
				"%w: the queue holds nothing of what was copied up to offset %d, it has offsets %d to %d: %w", msha.ErrGap, at.seen.Offset, at.low, at.high-1, why)}
		}
		from, reason = at.low, "the topic was recreated"
	}
	in, raised, err := msha.Raise(ctx, s.history.store, from, at.seen, reason)
	if err != nil {
		return 0, err
	}
	s.history.adopt(in)
	if !raised {
		return 0, errRaised
	}
	s.in = in
	s.count.raised.Add(1)
	s.log.Error("the origin has lost messages that were copied, its offsets are used again: copying goes on with a new incarnation of the queue",
		"reason", reason, "lost", at.seen.Offset+1-from, "from", from, "to", at.seen.Offset, "incarnation", in.Newest(s.from))
	return from, nil
}

// parting is the offset behind the last copy whose original is still there; common is false if no original is. Copies are in the order
// of the origin, so all up to some place have theirs, and none behind it: the place is searched for, from the end on.
func (s *session) parting(ctx context.Context, at standing) (from int64, common bool, err error) {
	first, err := s.remote.MinOffset(ctx, s.target)
	if err != nil {
		return 0, false, err
	}
	kept, parted := first-1, s.end // before the first copy; behind the last one
	var last msha.Origin           // copied to the place kept
	probe := func(place int64) error {
		found, o, ok, err := s.judge(ctx, place, parted, at)
		if ok {
			kept, last = found, o
		} else {
			parted = place
		}
		return err
	}
	for step := int64(1); err == nil && kept < first && s.end-step >= first; step *= 2 {
		err = probe(s.end - step)
	}
	for err == nil && parted-kept > 1 {
		err = probe(kept + (parted-kept)/2)
	}
	return last.Offset + 1, kept >= first && last.Offset >= at.low, err
}

// compare looks for the last copy before the position, where it is not the last in the replica queue.
func (s *session) compare(ctx context.Context, at standing) error {
	from, common, err := s.parting(ctx, at)
	if err == nil && common && from < at.next || err == nil && !common && at.next > at.low {
		return fmt.Errorf("%w: the messages from offset %d on are not the ones that were copied", errChanged, from)
	}
	return err
}

// judge finds the first copy from a place on whose offset was not used again since, and tells whether the origin still holds its original,
// or held it before its messages expired. There may be none before end.
func (s *session) judge(ctx context.Context, place, end int64, at standing) (found int64, o msha.Origin, ok bool, err error) {
	for place < end {
		res, err := s.remote.Pull(ctx, remoting.PullRequest{Queue: s.target, Group: readerGroup, Offset: place, Max: s.opts.BatchMessages})
		if err != nil {
			return 0, o, false, err
		}
		if len(res.Messages) == 0 {
			return 0, o, false, errMoved
		}
		for _, c := range res.Messages {
			o, err := msha.ParseOrigin(c.Properties[msha.PropertyOrigin])
			if err != nil || s.in.At(o.OriginQueue, o.Offset) != o.OriginQueue {
				continue
			}
			switch {
			case c.QueueOffset >= end, o.Offset >= at.high:
				return 0, o, false, nil
			case o.Offset < at.low:
				return c.QueueOffset, o, true, nil
			}
			original, err := messageAt(ctx, s.origin, s.source, o.Offset)
			return c.QueueOffset, o, err == nil && sameMessage(original, c), err
		}
		place = res.NextOffset
	}
	return 0, o, false, nil
}
