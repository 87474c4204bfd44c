package consume

import (
	"context"
	"errors"
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
		e.reportNowhere()
		if err := e.publish(e.ctx); err != nil && e.ctx.Err() == nil {
			e.cfg.Logger.Warn("facts not published, trying again", "error", err)
		}
	}
}

// maxRecords bounds one log message.
const maxRecords = 500

// publish writes what was covered since the last time, then commits the offsets that rest on it: a committed offset is never ahead of
// the facts. A broker that fails or hangs keeps only its own queues from it.
func (e *Engine) publish(ctx context.Context) error {
	failed, err := e.publishFacts(ctx, true)
	return errors.Join(append(slices.Collect(maps.Values(failed)), err)...)
}

// publishFacts returns the brokers at which it did not succeed; err says that ctx ended first.
func (e *Engine) publishFacts(ctx context.Context, commit bool) (failed map[string]error, err error) {
	if err := e.publishing.take(ctx); err != nil {
		return nil, err
	}
	defer e.publishing.give()
	e.mu.Lock()
	facts := map[string]filter.LogRecords{}
	for _, part := range e.tracker.Publish() {
		facts[part.Log] = part
	}
	positions := e.positions()
	for broker, byQueue := range positions {
		part := facts[broker]
		part.Log = broker
		part.Records = slices.AppendSeq(part.Records, maps.Values(byQueue))
		facts[broker] = part
	}
	commits := map[string]map[remoting.Queue]int64{}
	for q, h := range e.queues {
		if off := h.committable(); commit && h.mayCommit() && off != h.committed && !e.doubtful(q.Broker) {
			if commits[q.Broker] == nil {
				commits[q.Broker] = map[remoting.Queue]int64{}
			}
			commits[q.Broker][q] = off
		}
	}
	e.mu.Unlock()
	brokers := map[string]bool{}
	for broker := range facts {
		brokers[broker] = true
	}
	for broker := range commits {
		brokers[broker] = true
	}
	failed = map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for broker := range brokers {
		wg.Go(func() {
			err := e.writeFacts(ctx, facts[broker])
			if err == nil {
				e.published(positions[broker])
				err = e.commitAll(ctx, commits[broker])
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[broker] = fmt.Errorf("broker %s: %w", broker, err)
			}
		})
	}
	wg.Wait()
	return failed, nil
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

// commitAll commits the offsets of one broker's queues.
func (e *Engine) commitAll(ctx context.Context, offsets map[remoting.Queue]int64) error {
	for q, off := range offsets {
		if err := e.cfg.Cluster.Commit(ctx, e.set.group, q, off); err != nil {
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
