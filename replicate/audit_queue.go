package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/history"
	"github.com/go-msha/msha/internal/remoting"
)

// auditPageBytes bounds a pull where brokers are set to give more than they do by default.
const auditPageBytes = 2 << 20

// auditQueue compares one replica queue with its origin queue.
type auditQueue struct {
	source, target remoting.Queue // target is empty if the layout has none
	origin, remote *remoting.Cluster
	opts           *AuditOptions
	log            *slog.Logger
	publish        func(*QueueAudit) // takes a copy for the report if one is due
	result         QueueAudit
	history        *history.History
	match          *matcher
	window         []*remoting.Message // of the origin, offsets without a hole
	settled        bool                // the origin had its time to show messages
}

// run compares until the replica queue was read to the position where the audit found its end. The result is at each time that of
// whole messages, so it can be resumed.
func (a *auditQueue) run(ctx context.Context) error {
	p := &a.result.Position
	if a.target == (remoting.Queue{}) {
		return msha.Errorf("replicate.audit", a.result.name(), "does a replicator run?", "replica queue %w: none is assigned", msha.ErrNotFound)
	}
	if !p.Begun {
		if err := a.try(ctx, a.begin); err != nil {
			return err
		}
	}
	if err := a.try(ctx, a.history.Refresh); err != nil { // after the end of the replica queue was taken
		return err
	}
	a.match = &matcher{QueueAudit: &a.result, in: a.history.Now(), within: a.opts.within(a.result.Queue), batch: a.opts.Batch, listed: a.opts.Listed}
	for p.Next < p.End {
		var page []*remoting.Message
		err := a.try(ctx, func(ctx context.Context) (err error) {
			page, err = a.copies(ctx)
			return err
		})
		if err != nil {
			return err
		}
		for _, c := range page {
			if err := a.one(ctx, c); err != nil {
				return err
			}
		}
		a.publish(&a.result)
	}
	a.match.finish()
	return nil
}

// begin takes the ends of both queues. The origin's comes first: what is stored there meanwhile does not count as pending.
func (a *auditQueue) begin(ctx context.Context) error {
	low, err := a.origin.MinOffset(ctx, a.source)
	if err != nil {
		return err
	}
	end, err := a.origin.MaxOffset(ctx, a.source)
	if err != nil {
		return err
	}
	first, err := a.remote.MinOffset(ctx, a.target)
	if err != nil {
		return err
	}
	last, err := a.remote.MaxOffset(ctx, a.target)
	if err != nil {
		return err
	}
	a.result.Position = AuditPosition{Begun: true, Next: first, End: last, OriginMin: low, OriginEnd: end, Lost: first > 0}
	return nil
}

var errTailGone = errors.New("the replica queue gives nothing at an offset that it held when the audit began")

// copies pulls the next page of the replica queue; an empty one if its messages expired meanwhile.
func (a *auditQueue) copies(ctx context.Context) ([]*remoting.Message, error) {
	p := &a.result.Position
	res, err := a.remote.Pull(ctx, remoting.PullRequest{Queue: a.target, Group: readerGroup, Offset: p.Next, Max: a.opts.Page, MaxBytes: auditPageBytes})
	if err != nil {
		return nil, err
	}
	first := res.NextOffset
	if len(res.Messages) > 0 {
		first = res.Messages[0].QueueOffset
	}
	switch {
	case first > p.Next: // expired, or files are being removed
		a.match.copiesLost()
		p.Next = min(first, p.End)
	case first < p.Next || len(res.Messages) == 0:
		return nil, errTailGone
	}
	var page []*remoting.Message
	for _, m := range res.Messages {
		if m.QueueOffset == first+int64(len(page)) && m.QueueOffset < p.End {
			page = append(page, m)
		}
	}
	return page, nil
}

// one compares one copy.
func (a *auditQueue) one(ctx context.Context, c *remoting.Message) error {
	p := &a.result.Position
	offset, wanted := a.match.identify(c)
	if wanted {
		var original *remoting.Message
		beyond := false
		err := a.try(ctx, func(ctx context.Context) (err error) {
			original, beyond, err = a.original(ctx, offset)
			return err
		})
		if err != nil {
			return err
		}
		if beyond {
			a.match.foreign(c, offset, "the origin queue ends below it: it lost its tail, or the topic was recreated")
		} else if err := a.match.add(offset, c, original); err != nil {
			return err
		}
	}
	p.Next = c.QueueOffset + 1
	return nil
}

var errNotYet = errors.New("the origin queue ends below a copy")

// original reads the origin's message at an offset: nil if it expired. beyond says that the queue ends below it.
func (a *auditQueue) original(ctx context.Context, offset int64) (m *remoting.Message, beyond bool, err error) {
	if n := len(a.window); n > 0 {
		if first := a.window[0].QueueOffset; offset >= first && offset < first+int64(n) {
			return a.window[offset-first], false, nil
		}
	}
	res, err := a.origin.Pull(ctx, remoting.PullRequest{Queue: a.source, Group: readerGroup, Offset: offset, Max: a.opts.Page, MaxBytes: auditPageBytes})
	if err != nil {
		return nil, false, err
	}
	a.window = nil
	for _, m := range res.Messages {
		if m.QueueOffset == offset+int64(len(a.window)) {
			a.window = append(a.window, m)
		}
	}
	switch {
	case len(a.window) > 0:
		return a.window[0], false, nil
	case len(res.Messages) > 0 || res.NextOffset > offset:
		return nil, false, nil
	case a.settled:
		return nil, true, nil
	}
	return nil, false, errNotYet
}

// try repeats a call until it succeeds, its error is one that will stay, or ctx or the patience ends.
func (a *auditQueue) try(ctx context.Context, call func(context.Context) error) error {
	began, backoff, last := time.Now(), firstBackoff, error(nil)
	for {
		one, cancel := context.WithTimeout(ctx, 2*callTimeout)
		err := call(one)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil && last != nil:
			return fmt.Errorf("%w, before that: %w", ctx.Err(), last)
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNotYet):
			a.settled = time.Since(began) >= a.opts.settle
		case lasting(err), a.opts.Patience > 0 && time.Since(began) >= a.opts.Patience:
			return err
		default:
			a.settled = false // after a restart messages take their time again
		}
		last = err
		if backoff == firstBackoff {
			a.log.Warn("audit interrupted, it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, before that: %w", ctx.Err(), err)
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, lastBackoff)
		a.origin.Forget()
		a.remote.Forget()
	}
}

// lasting reports whether a broker's answer will not become another one by asking again.
func lasting(err error) bool {
	if errors.Is(err, msha.ErrDenied) { // RocketMQ 4 has no code of its own for it
		return true
	}
	var answer *remoting.BrokerError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Code {
	case remoting.RespNoPermission, remoting.RespTopicNotExist, remoting.RespInvalidParameter, remoting.RespSubscriptionGroupAbsent:
		return true
	}
	return false
}
