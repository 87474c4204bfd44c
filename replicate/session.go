package replicate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/parting"
	"github.com/go-msha/msha/internal/remoting"
)

// session is copying over one connection to each broker. Both brokers are looked at in the beginning; whatever could make that out of
// date, a connection that ended among it, ends the session.
type session struct {
	*pipe
	origin, remote *remoting.Cluster  // pinned
	end            int64              // of the replica queue, as it must be if nobody else writes there
	in             *msha.Incarnations // as the session knows them
	copier         *copier
	held           *account
}

// session reads the tail, then copies until something fails. Every failed send ends it, because only the tail tells whether an
// unanswered send was stored, and so does a lost connection, because the broker may have come back without its tail.
func (p *pipe) session(ctx context.Context) (progressed bool, err error) {
	s := &session{pipe: p, origin: p.origin().Pin(), remote: p.remote().Pin()}
	dropped, err := s.remote.Dropped(ctx, p.target.Broker)
	if err != nil {
		return false, err
	}
	next, err := s.locate(ctx)
	if err != nil {
		return false, err
	}
	p.setCopied(s.markAt(next))
	p.setErr(nil)
	s.copier = newCopier(func(offset int64) msha.OriginQueue { return s.in.At(s.from, offset) })
	s.held = newAccount(s.readAhead)
	ctx, cancel := context.WithCancel(ctx)
	ahead := make(chan pulled, maxPulls)
	var wg sync.WaitGroup
	wg.Go(func() { s.read(ctx, next, ahead) })
	defer wg.Wait()
	defer cancel()
	var b backlog
	for {
		if err := s.gather(ctx, &b, ahead, dropped); err != nil {
			return progressed, err
		}
		if err := s.write(ctx, b.batch()); err != nil {
			return progressed, err
		}
		progressed = true
		s.held.give(b.pop())
	}
}

var errReconnect = errors.New("the connection to the target was lost")

// locate finds the next offset to copy. What the origin queue seems to have lost is believed only after a while.
func (s *session) locate(ctx context.Context) (int64, error) {
	for since := time.Now(); ; sleep(ctx, s.opts.settle/20) {
		at, err := s.look(ctx)
		switch {
		case errors.Is(err, parting.ErrChanged) && time.Since(since) >= s.opts.settle:
			return s.renew(ctx, at, err)
		case errors.Is(err, parting.ErrChanged) && ctx.Err() == nil:
		case errors.Is(err, parting.ErrExpired) && s.opts.OnGap == Skip:
			s.log.Error("expired messages skipped", "from", at.next, "to", at.low-1, "error", err)
			s.count.gaps.Add(1)
			s.count.skipped.Add(at.low - at.next)
			return at.low, nil
		case errors.Is(err, msha.ErrGap):
			return 0, finalError{err}
		default:
			return at.next, err
		}
	}
}

// look finds the next offset to copy from the tail of the replica queue, or from the checkpoint if all copies have expired.
func (s *session) look(ctx context.Context) (at standing, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.timeout)
	defer cancel()
	s.in = s.history.Now()
	tail, end, err := s.settledTail(ctx)
	if err != nil {
		return at, err
	}
	s.end = end
	if at.low, err = s.origin.MinOffset(ctx, s.source); err != nil {
		return at, err
	}
	if at.high, err = s.origin.MaxOffset(ctx, s.source); err != nil {
		return at, err
	}
	var atTail *remoting.Message
	switch {
	case tail == nil && end == 0:
		if err := s.startGroupsAtZero(ctx); err != nil {
			return at, err
		}
	case tail == nil: // all copies expired
		mark, ok, err := s.checkpoint(ctx)
		if err != nil {
			return at, err
		}
		if ok {
			at.seen = mark.last(s.from)
			at.next, _ = s.in.After(at.seen)
			return at, parting.Within(s.from, at.next, at.low, at.high)
		}
		s.log.Warn("all copies expired and no checkpoint is kept: copying what the origin still has")
	default:
		if o, err := msha.ParseOrigin(tail.Properties[msha.PropertyOrigin]); err == nil {
			at.seen = o
		}
		if at.seen.Incarnation > s.in.Newest(s.from) { // raised by another process
			if err := s.history.Refresh(ctx); err != nil {
				return at, err
			}
			s.in = s.history.Now()
		}
		if o := at.seen.Offset; o >= at.low && o < at.high {
			if atTail, err = messageAt(ctx, s.origin, s.source, o); err != nil {
				return at, err
			}
		}
	}
	at.next, err = resume(s.from, s.in, tail, atTail, at.low, at.high)
	if errors.Is(err, msha.ErrInvalid) {
		return at, finalError{err}
	}
	if tail != nil && err == nil {
		if err := s.whole(ctx, at.low); err != nil {
			return at, err
		}
	}
	if tail != nil && at.next <= at.seen.Offset { // its offset was used again: what the copies before it are of may have changed too
		at.seen = s.markAt(at.next).last(s.from)
		if err == nil {
			err = s.compare(ctx, at)
		}
	}
	return at, err
}

// startGroupsAtZero commits offset 0 in a new replica queue for every group the target knows: without an offset a plain client would
// start at the queue's end and miss the first copies.
func (s *session) startGroupsAtZero(ctx context.Context) error {
	addr, err := s.remote.MasterAddr(ctx, s.target.Topic, s.target.Broker)
	if err != nil {
		return err
	}
	groups, err := s.remote.Groups(ctx, addr)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if systemGroup(g) {
			continue
		}
		if _, err := s.remote.CommittedOffset(ctx, g, s.target); err == nil {
			continue // it consumes already
		} else if !errors.Is(err, msha.ErrNotFound) {
			return err
		}
		if err := s.remote.Commit(ctx, g, s.target, 0); err != nil && !errors.Is(err, msha.ErrNotFound) {
			return err
		}
	}
	return nil
}

// markAt is the position behind the message before an offset.
func (s *session) markAt(next int64) mark {
	return mark{next, s.in.At(s.from, max(next-1, 0)).Incarnation}
}

func messageAt(ctx context.Context, c *remoting.Cluster, q remoting.Queue, offset int64) (*remoting.Message, error) {
	res, err := c.Pull(ctx, remoting.PullRequest{Queue: q, Group: readerGroup, Offset: offset, Max: 1})
	if err != nil {
		return nil, err
	}
	if len(res.Messages) == 0 || res.Messages[0].QueueOffset != offset {
		return nil, msha.Errorf("replicate.read", q.String(), "", "message at offset %d %w", offset, msha.ErrNotFound)
	}
	return res.Messages[0], nil
}
