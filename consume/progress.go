package consume

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// token is a mutex that a context can give up waiting for.
type token chan struct{}

func newToken() token {
	t := make(token, 1)
	t <- struct{}{}
	return t
}

func (t token) take(ctx context.Context) error {
	select {
	case <-t:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t token) give() { t <- struct{}{} }

// publishLoop publishes the facts of one log and commits offsets until the engine ends. Each log has its own, so that a broker that fails or hangs
// keeps only its own queues from it.
func (e *Engine) publishLoop(l *logReader) {
	tick := time.NewTicker(e.cfg.PublishEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.soon:
		case <-e.ctx.Done():
			return
		}
		e.reportNowhere()
		if err := e.publishAt(e.ctx, l.queue.Broker, true); err != nil && e.ctx.Err() == nil {
			e.cfg.Logger.Warn("facts not published, trying again", "error", err)
		}
	}
}

// publishSoon has facts published before their time; the lock is held.
func (e *Engine) publishSoon() {
	for _, l := range e.logs {
		if l.own {
			e.poke(l.soon)
		}
	}
}

// maxRecords bounds one log message.
const maxRecords = 500

// publish writes what was covered of the queues of some brokers since the last time, without commits. It returns the brokers at which it did not
// succeed.
func (e *Engine) publish(ctx context.Context, brokers []string) (failed map[string]error) {
	failed = map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, broker := range brokers {
		wg.Go(func() {
			if err := e.publishAt(ctx, broker, false); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[broker] = err
			}
		})
	}
	wg.Wait()
	return failed
}

// publishAt writes what was covered of the queues of one broker since the last time, then commits the offsets that rest on it: a committed offset is
// never ahead of the facts. One publication at a time.
func (e *Engine) publishAt(ctx context.Context, broker string, commit bool) error {
	e.mu.Lock()
	l := e.ownLog(broker)
	e.mu.Unlock()
	if l == nil { // nothing of this broker was opened
		return nil
	}
	if err := l.publishing.take(ctx); err != nil {
		return fmt.Errorf("broker %s: facts are being published: %w", broker, err)
	}
	defer l.publishing.give()
	e.mu.Lock()
	part, positions := e.tracker.PublishLog(broker), e.positions(broker)
	part.Records = slices.AppendSeq(part.Records, maps.Values(positions))
	offsets := commits{l.broker, map[remoting.Queue]int64{}}
	for q, h := range e.queues {
		if off := h.committable(); commit && q.Broker == broker && h.mayCommit() && off != h.committed {
			offsets.offsets[q] = off
		}
	}
	e.mu.Unlock()
	err := e.writeFacts(ctx, part)
	if err == nil {
		e.published(positions)
		err = e.commitAll(ctx, offsets)
	}
	if err != nil {
		return fmt.Errorf("broker %s: %w", broker, err)
	}
	return nil
}

// writeFacts appends one broker's records; what it cannot write is published the next time.
func (e *Engine) writeFacts(ctx context.Context, part filter.LogRecords) error {
	for len(part.Records) > 0 {
		n := min(len(part.Records), maxRecords)
		if _, err := e.appendLog(ctx, part.Log, part.Records[:n]...); err != nil {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.tracker.Restore(part)
			return err
		}
		part.Records = part.Records[n:]
	}
	return nil
}

// commits are the offsets of one broker's queues that rest on its log. They go through the connection by which the log is known:
//
//	a retry copy fails, and is acknowledged once the log knows of the next one → the broker loses both → it is back before anybody has noticed → the
//	acknowledgement would be committed, and nobody would read the copy again
type commits struct {
	broker  *remoting.Cluster
	offsets map[remoting.Queue]int64
}

// commitAll commits offsets. How far the copies of a retry queue are acknowledged is written down before: brokers keep offsets in a file of their
// own, which may have outlived what they rest on.
func (e *Engine) commitAll(ctx context.Context, c commits) error {
	for q, off := range c.offsets {
		if q.Topic == e.retry {
			local := filter.LocalQueue{Topic: q.Topic, Broker: q.Broker, ID: q.ID}
			if _, err := e.appendThrough(ctx, c.broker, q.Broker, filter.Record{Kind: filter.Done, Group: e.set.group, Local: local, Next: off}); err != nil {
				return err
			}
		}
		if err := c.broker.Commit(ctx, e.set.group, q, off); err != nil {
			return err
		}
		e.mu.Lock()
		if h := e.queues[q]; h != nil {
			h.committed = off
		}
		e.mu.Unlock()
	}
	return nil
}

// publishDone writes one Done at once: a retry copy is acknowledged only after it.
func (e *Engine) publishDone(ctx context.Context, it *item) error {
	if it.meta.Legacy {
		return nil
	}
	origin := it.meta.Origin
	return e.insist(ctx, it.h.queue.Broker, filter.Record{Kind: filter.Done, Group: e.set.group, Set: it.key.Set, Term: it.key.Term, Queue: origin.OriginQueue,
		Spans: filter.Range(origin.Offset, origin.Offset+1)})
}
