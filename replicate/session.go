package replicate

import (
	"context"
	"errors"
	"sync"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

type pulled struct {
	ms  []*remoting.Message
	err error
}

// session is copying over one connection to each broker. Both brokers are looked at in the beginning; whatever could make that out of
// date, a connection that ended among it, ends the session.
type session struct {
	*pipe
	origin, remote *remoting.Cluster // pinned
	end            int64             // of the replica queue, as it must be if nobody else writes there
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
	p.setCopied(next)
	p.setErr(nil)
	ctx, cancel := context.WithCancel(ctx)
	ahead := make(chan pulled, readAhead)
	var wg sync.WaitGroup
	wg.Go(func() { s.read(ctx, next, ahead) })
	defer wg.Wait()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return progressed, ctx.Err()
		case <-dropped:
			return progressed, errReconnect
		case got := <-ahead:
			if got.err != nil {
				return progressed, got.err
			}
			if err := s.write(ctx, got.ms); err != nil {
				return progressed, err
			}
			progressed = true
		}
	}
}

var errReconnect = errors.New("the connection to the target was lost")

// read pulls ahead of the sends.
func (s *session) read(ctx context.Context, next int64, out chan<- pulled) {
	for {
		got := pulled{}
		res, err := s.origin.Pull(ctx, remoting.PullRequest{Queue: s.source, Group: readerGroup, Offset: next, Max: s.opts.BatchMessages, Suspend: longPoll})
		switch {
		case err != nil:
			got.err = err
		case res.Status == remoting.PullNoNew:
			continue
		case !follows(next, res):
			got.err = errMoved // the session locates again and says what happened
		default:
			next = res.NextOffset
			got.ms = res.Messages
		}
		select {
		case out <- got:
		case <-ctx.Done():
			return
		}
		if got.err != nil {
			return
		}
	}
}

var errMoved = errors.New("the origin's offsets moved")

// follows reports whether a pull gave messages without a hole from next on. A broker that is removing old files skips over them
// with the answer that a filter would get.
func follows(next int64, res *remoting.PullResult) bool {
	if res.Status != remoting.PullFound || len(res.Messages) == 0 {
		return false
	}
	for i, m := range res.Messages {
		if m.QueueOffset != next+int64(i) {
			return false
		}
	}
	return res.NextOffset == next+int64(len(res.Messages))
}

// write sends the copies in order. A send that began is finished even if ctx ends, so that a graceful stop leaves no doubt.
func (s *session) write(ctx context.Context, ms []*remoting.Message) error {
	copies := make([]*remoting.Message, len(ms))
	for i, m := range ms {
		copies[i] = copyOf(m, s.from, s.target.Topic)
	}
	done := 0
	for _, b := range batches(copies, s.opts.BatchMessages, s.opts.BatchBytes) {
		if err := s.waitWhilePaused(ctx); err != nil {
			return err
		}
		err := s.send(ctx, b)
		if errors.Is(err, msha.ErrTooLarge) { // nothing is stored: find the message
			err = s.sendEach(ctx, b)
		}
		if err != nil {
			return err
		}
		done += len(b)
		s.setCopied(ms[done-1].QueueOffset + 1)
	}
	return nil
}

// sendEach sends messages one by one; one that the target refuses stops the queue.
func (s *session) sendEach(ctx context.Context, b []*remoting.Message) error {
	for _, m := range b {
		err := s.send(ctx, []*remoting.Message{m})
		if errors.Is(err, msha.ErrTooLarge) {
			return finalError{msha.Errorf("replicate.send", s.from.String(), "raise the target's message size, or expire the message at the origin",
				"message %s cannot be copied: %w", m.Properties[msha.PropertyOrigin], err)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// send stores one batch. A single message goes as a batch too, where it can: brokers refuse an empty body otherwise, and give a message
// without UNIQ_KEY one.
func (s *session) send(ctx context.Context, b []*remoting.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	right, err := s.mayWrite(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.timeout)
	defer cancel()
	var stored *remoting.SendResult
	if len(b) == 1 && !fitsBatch(b[0]) {
		stored, err = s.remote.Send(ctx, s.target, producerGroup, b[0])
	} else {
		stored, err = s.remote.SendBatch(ctx, s.target, producerGroup, b)
	}
	if err != nil && !errors.Is(err, remoting.ErrStored) || stored == nil {
		return err
	}
	return s.wrote(stored.QueueOffset, len(b), right)
}

// locate finds the next offset to copy from the tail of the replica queue.
func (s *session) locate(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.timeout)
	defer cancel()
	tail, end, err := s.settledTail(ctx)
	if err != nil {
		return 0, err
	}
	s.end = end
	ever := end > 0
	low, err := s.origin.MinOffset(ctx, s.source)
	if err != nil {
		return 0, err
	}
	high, err := s.origin.MaxOffset(ctx, s.source)
	if err != nil {
		return 0, err
	}
	var atTail *remoting.Message
	switch {
	case tail == nil && !ever:
		if err := s.startGroupsAtZero(ctx); err != nil {
			return 0, err
		}
	case tail == nil: // all copies expired
		if next, ok, err := s.checkpoint(ctx); err != nil || ok {
			return s.settle(next, within(s.from, next, low, high), low, err)
		}
		s.log.Warn("all copies expired and no checkpoint is kept: copying what the origin still has")
	default:
		if o, err := msha.ParseOrigin(tail.Properties[msha.PropertyOrigin]); err == nil && o.Offset >= low && o.Offset < high {
			if atTail, err = messageAt(ctx, s.origin, s.source, o.Offset); err != nil {
				return 0, err
			}
		}
	}
	next, err := resume(s.from, tail, atTail, low, high)
	return s.settle(next, err, low, nil)
}

// settle applies the policy for gaps to a position; other is an error that says nothing about the position.
func (s *session) settle(next int64, err error, low int64, other error) (int64, error) {
	switch {
	case other != nil:
		return 0, other
	case err == nil:
		return next, nil
	case errors.Is(err, errExpired) && s.opts.OnGap == Skip:
		s.log.Error("expired messages skipped", "error", err)
		return low, nil
	}
	return 0, finalError{err}
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
