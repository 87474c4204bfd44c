package consume

import (
	"context"
	"errors"
	"time"

	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

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
// the facts.
func (e *Engine) publish(ctx context.Context) error {
	e.publishMu.Lock()
	defer e.publishMu.Unlock()
	e.mu.Lock()
	parts := e.tracker.Publish()
	commits := map[remoting.Queue]int64{}
	for q, h := range e.queues {
		if off := h.committable(); h.ready && off != h.committed {
			commits[q] = off
		}
	}
	e.mu.Unlock()
	var all error
	for i, part := range parts {
		for len(part.Records) > 0 {
			n := min(len(part.Records), maxRecords)
			if _, err := e.appendLog(ctx, part.Log, part.Records[:n]...); err != nil {
				all = errors.Join(all, err)
				e.mu.Lock()
				e.tracker.Restore(part)
				e.mu.Unlock()
				break
			}
			part.Records = part.Records[n:]
			parts[i] = part
		}
	}
	if all != nil {
		return all
	}
	for q, off := range commits {
		if err := e.cfg.Cluster.Commit(ctx, e.set.group, q, off); err != nil {
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
func (e *Engine) publishDone(ctx context.Context, broker string, k filter.Key, m filter.Message) error {
	if m.Legacy || k == (filter.Key{}) {
		return nil
	}
	return e.insist(ctx, broker, filter.Record{Kind: filter.Done, Group: e.set.group, Set: k.Set, Term: k.Term, Queue: m.Origin.OriginQueue,
		Spans: filter.Range(m.Origin.Offset, m.Origin.Offset+1)})
}
