package replicate

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	producerGroup = "MSHA_REPLICATOR"
	readerGroup   = "MSHA_REPLICATOR"
	longPoll      = 15 * time.Second
	callTimeout   = 10 * time.Second
	firstBackoff  = 50 * time.Millisecond
	lastBackoff   = 2 * time.Second
	readAhead     = 4 // pulls
)

// pipe copies one origin queue into one replica queue. One batch is in flight at a time: two could change places.
type pipe struct {
	from           msha.OriginQueue
	source, target remoting.Queue
	unit           string // target unit
	origin, remote *remoting.Cluster
	opts           *Options
	log            *slog.Logger

	mu      sync.Mutex
	located bool
	copied  int64 // next origin offset to copy
	err     error
	paused  chan struct{} // closed on resume; nil: not paused
}

// run copies until ctx ends; a gap that the policy does not allow to skip stops it earlier.
func (p *pipe) run(ctx context.Context) {
	backoff, lost := firstBackoff, false
	for ctx.Err() == nil {
		progressed, err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		p.setErr(err)
		if isFinal(err) {
			p.log.Error("copying stopped", "error", err)
			return
		}
		if !lost {
			p.log.Warn("copying interrupted", "error", err)
		}
		lost = true
		if progressed {
			backoff, lost = firstBackoff, false
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, lastBackoff)
		p.origin.Forget()
		p.remote.Forget()
	}
}

// isFinal reports errors that no retry heals: somebody has to look at the queue (P5).
func isFinal(err error) bool { return errors.Is(err, msha.ErrGap) || errors.Is(err, msha.ErrInvalid) }

type pulled struct {
	ms   []*remoting.Message
	next int64
	err  error
}

// session reads the tail, then copies until something fails. Every failed send ends it, because only the tail tells whether an
// unanswered send was stored.
func (p *pipe) session(ctx context.Context) (progressed bool, err error) {
	next, err := p.locate(ctx)
	if err != nil {
		return false, err
	}
	p.setCopied(next)
	ctx, cancel := context.WithCancel(ctx)
	ahead := make(chan pulled, readAhead)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		p.read(ctx, next, ahead)
	}()
	defer wg.Wait()
	defer cancel()
	for {
		if err := p.waitWhilePaused(ctx); err != nil {
			return progressed, err
		}
		select {
		case <-ctx.Done():
			return progressed, ctx.Err()
		case got := <-ahead:
			if got.err != nil {
				return progressed, got.err
			}
			if err := p.write(ctx, got.ms); err != nil {
				return progressed, err
			}
			p.setCopied(got.next)
			p.setErr(nil)
			progressed = true
		}
	}
}

// read pulls ahead of the sends.
func (p *pipe) read(ctx context.Context, next int64, out chan<- pulled) {
	for {
		got := pulled{}
		res, err := p.origin.Pull(ctx, remoting.PullRequest{Queue: p.source, Group: readerGroup, Offset: next, Max: p.opts.BatchMessages, Suspend: longPoll})
		switch {
		case err != nil:
			got.err = err
		case res.Status == remoting.PullNoNew:
			continue
		case res.Status == remoting.PullOffsetIllegal:
			got.err = errMoved // the session locates again and says what happened
		default:
			next = res.NextOffset
			got.ms, got.next = res.Messages, next
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

// write sends the copies in order. A send that began is finished even if ctx ends, so that a graceful stop leaves no doubt.
func (p *pipe) write(ctx context.Context, ms []*remoting.Message) error {
	copies := make([]*remoting.Message, len(ms))
	for i, m := range ms {
		copies[i] = copyOf(m, p.from, p.target.Topic)
	}
	done := 0
	for _, b := range batches(copies, p.opts.BatchMessages, p.opts.BatchBytes) {
		if err := ctx.Err(); err != nil {
			return err
		}
		sendCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		var err error
		if len(b) == 1 && len(b[0].Body) > 0 { // brokers refuse an empty body unless it is part of a batch
			_, err = p.remote.Send(sendCtx, p.target, producerGroup, b[0])
		} else {
			_, err = p.remote.SendBatch(sendCtx, p.target, producerGroup, b)
		}
		cancel()
		if err != nil && !errors.Is(err, remoting.ErrStored) {
			return err
		}
		done += len(b)
		p.setCopied(ms[done-1].QueueOffset + 1)
	}
	return nil
}

// locate finds the next offset to copy from the tail of the replica queue.
func (p *pipe) locate(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	tail, err := lastMessage(ctx, p.remote, p.target)
	if err != nil {
		return 0, err
	}
	low, err := p.origin.MinOffset(ctx, p.source)
	if err != nil {
		return 0, err
	}
	high, err := p.origin.MaxOffset(ctx, p.source)
	if err != nil {
		return 0, err
	}
	var atTail *remoting.Message
	if tail == nil {
		if err := p.startGroupsAtZero(ctx); err != nil {
			return 0, err
		}
	} else if o, err := msha.ParseOrigin(tail.Properties[msha.PropertyOrigin]); err == nil && o.Offset >= low && o.Offset < high {
		if atTail, err = messageAt(ctx, p.origin, p.source, o.Offset); err != nil {
			return 0, err
		}
	}
	next, err := resume(p.from, tail, atTail, low, high)
	if errors.Is(err, msha.ErrGap) && p.opts.OnGap == Skip && next == low {
		p.log.Error("expired messages skipped", "error", err)
		return next, nil
	}
	return next, err
}

// startGroupsAtZero commits offset 0 in a new replica queue for every group the target knows: without an offset a plain client would
// start at the queue's end and miss the first copies.
func (p *pipe) startGroupsAtZero(ctx context.Context) error {
	addr, err := p.remote.MasterAddr(ctx, p.target.Topic, p.target.Broker)
	if err != nil {
		return err
	}
	groups, err := p.remote.Groups(ctx, addr)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if _, err := p.remote.CommittedOffset(ctx, g, p.target); err == nil {
			continue // it consumes already
		} else if !errors.Is(err, msha.ErrNotFound) {
			return err
		}
		if err := p.remote.Commit(ctx, g, p.target, 0); err != nil && !errors.Is(err, msha.ErrNotFound) {
			return err
		}
	}
	return nil
}

func lastMessage(ctx context.Context, c *remoting.Cluster, q remoting.Queue) (*remoting.Message, error) {
	low, err := c.MinOffset(ctx, q)
	if err != nil {
		return nil, err
	}
	high, err := c.MaxOffset(ctx, q)
	if err != nil || high <= low {
		return nil, err
	}
	return messageAt(ctx, c, q, high-1)
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

func (p *pipe) setCopied(next int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.copied, p.located = next, true
}

func (p *pipe) setErr(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *pipe) state() (next int64, located bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.copied, p.located, p.err
}

func (p *pipe) pause(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.paused == nil:
		p.paused = make(chan struct{})
	case !on && p.paused != nil:
		close(p.paused)
		p.paused = nil
	}
}

func (p *pipe) waitWhilePaused(ctx context.Context) error {
	p.mu.Lock()
	paused := p.paused
	p.mu.Unlock()
	if paused == nil {
		return nil
	}
	select {
	case <-paused:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
