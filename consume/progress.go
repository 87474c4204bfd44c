package consume

import (
	"context"
	"errors"
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

// publishLoop publishes facts and commits offsets until the engine ends.
func (e *Engine) publishLoop() {
	tick := time.NewTicker(e.cfg.PublishEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.soon:
		case <-e.ctx.Done():
			return
		}
		if err := e.publish(e.ctx); err != nil && e.ctx.Err() == nil {
			e.cfg.Logger.Warn("facts not published, trying again", "error", err)
		}
	}
}

// maxRecords bounds one log message.
const maxRecords = 500

// publish writes what was covered since the last time, then commits the offsets that rest on it: a committed offset is never ahead of
// the facts. A broker that fails keeps only its own queues from it.
func (e *Engine) publish(ctx context.Context) error { return e.publishFacts(ctx, true) }

func (e *Engine) publishFacts(ctx context.Context, commit bool) error {
	if err := e.publishing.take(ctx); err != nil {
		return err
	}
	defer e.publishing.give()
	e.mu.Lock()
	parts := e.tracker.Publish()
	commits := map[remoting.Queue]int64{}
	for q, h := range e.queues {
		if off := h.committable(); commit && h.open && off != h.committed {
			commits[q] = off
		}
	}
	e.mu.Unlock()
	failed := map[string]bool{}
	var all error
	for _, part := range parts {
		for len(part.Records) > 0 {
			n := min(len(part.Records), maxRecords)
			if _, err := e.appendLog(ctx, part.Log, part.Records[:n]...); err != nil {
				all = errors.Join(all, err)
				failed[part.Log] = true
				e.mu.Lock()
				e.tracker.Restore(part)
				e.mu.Unlock()
				break
			}
			part.Records = part.Records[n:]
		}
	}
	for q, off := range commits {
		if failed[q.Broker] {
			continue
		}
		if err := e.cfg.Cluster.Commit(ctx, e.set.group, q, off); err != nil {
			failed[q.Broker] = true
			all = errors.Join(all, err)
			continue
		}
		e.mu.Lock()
		if h := e.queues[q]; h != nil {
			h.committed = off
		}
		e.mu.Unlock()
	}
	return all
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
