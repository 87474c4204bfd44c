package consume

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// logReader follows the fact log of one broker, the unit's own or the copy of another unit's.
type logReader struct {
	queue remoting.Queue
	own   bool

	// Under the engine's lock:
	next    int64             // everything below is applied
	last    *remoting.Message // read last, body dropped
	suspect bool              // the broker was away: it may have lost what was read, and stored other records in its place
}

// openLogs creates the fact log where a broker has none and starts a reader for each log that has none yet. It returns once every
// registered broker's log is followed.
func (e *Engine) openLogs(ctx context.Context) error {
	brokers, err := e.cfg.Cluster.Brokers(ctx)
	if err == nil {
		err = e.noteBrokers(ctx, brokers)
	}
	if err != nil {
		return err
	}
	missing, err := e.followOwn(ctx, brokers)
	if err == nil && len(missing) > 0 {
		if err = e.cfg.Cluster.EnsureTopic(ctx, remoting.TopicConfig{Name: msha.ProgressTopic, Read: 1, Write: 1}); err == nil {
			missing, err = e.followOwn(ctx, brokers)
		}
	}
	switch {
	case err != nil:
		return err
	case len(missing) > 0:
		return msha.Errorf("consume.log", strings.Join(missing, ", "), "", "%w: broker no longer registered", msha.ErrNotFound)
	}
	return e.followCopies(ctx)
}

// noteBrokers makes brokers known before facts are written to their logs, so that no switch passes over one that is away.
func (e *Engine) noteBrokers(ctx context.Context, brokers map[string]string) error {
	e.mu.Lock()
	fresh := slices.DeleteFunc(slices.Sorted(maps.Keys(brokers)), func(name string) bool { return slices.Contains(e.noted, name) })
	e.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	if err := e.cfg.Brokers(ctx, fresh); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.noted = append(e.noted, fresh...)
	return nil
}

// followOwn follows the logs there are and returns the brokers without one.
func (e *Engine) followOwn(ctx context.Context, brokers map[string]string) (missing []string, err error) {
	queues, err := e.cfg.Cluster.Queues(ctx, msha.ProgressTopic, false)
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return nil, err
	}
	missing = slices.Sorted(maps.Keys(brokers))
	for _, q := range queues {
		if q.ID == 0 { // records go nowhere else
			missing = slices.DeleteFunc(missing, func(broker string) bool { return broker == q.Broker })
			e.follow(q, true)
		}
	}
	return missing, nil
}

// followCopies follows the copies of the other units' logs.
func (e *Engine) followCopies(ctx context.Context) error {
	for _, unit := range e.cfg.OtherUnits() {
		queues, err := e.cfg.Cluster.Queues(ctx, msha.ReplicaTopic(msha.ProgressTopic, unit), false)
		if errors.Is(err, msha.ErrNotFound) {
			continue // not copied yet
		}
		if err != nil {
			return err
		}
		for _, q := range queues {
			e.follow(q, false)
		}
	}
	return nil
}

func (e *Engine) follow(q remoting.Queue, own bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.logs[q] == nil {
		l := &logReader{queue: q, own: own}
		e.logs[q] = l
		e.wg.Go(func() { e.followLog(l) })
	}
}

func (e *Engine) followLog(l *logReader) {
	backoff, failing := retryInterval, false
	for e.ctx.Err() == nil {
		res, err := e.readOnLog(l, failing)
		if err != nil {
			e.suspectLog(l)
			if !failing && e.ctx.Err() == nil {
				e.cfg.Logger.Warn("fact log cannot be read, trying again", "log", l.queue.String(), "error", err)
			}
			failing = true
			pause(e.ctx, backoff)
			backoff = min(2*backoff, lastBackoff)
			continue
		}
		if failing {
			e.cfg.Logger.Info("fact log is read again", "log", l.queue.String())
		}
		backoff, failing = retryInterval, false
		if res.Status != remoting.PullNoNew {
			e.applyLog(l, res)
		}
	}
}

func (e *Engine) readOnLog(l *logReader, failing bool) (*remoting.PullResult, error) {
	if failing {
		if err := e.verifyLog(l); err != nil {
			return nil, err
		}
	}
	return e.cfg.Cluster.Pull(e.ctx, remoting.PullRequest{Queue: l.queue, Group: readerGroup, Offset: l.next, Max: 256, Suspend: longPoll})
}

// suspectLog has nobody rely on a log as read until it is verified.
func (e *Engine) suspectLog(l *logReader) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.suspect = true
}

// doubtful tells whether the log of a broker may have lost its tail: an offset must not be committed without the facts that it rests on. The lock is held.
func (e *Engine) doubtful(broker string) bool {
	for _, l := range e.logs {
		if l.own && l.suspect && l.queue.Broker == broker {
			return true
		}
	}
	return false
}

// verifyLog looks, after an interruption, whether the record read last is still where it was:
//
//	the broker loses the tail of the log, which was read up to offset 100 → others write new records from offset 95 on, more than were lost → this
//	process, which reads on at offset 100, would never see the first of them
func (e *Engine) verifyLog(l *logReader) error {
	there := true
	if l.last != nil {
		res, err := e.cfg.Cluster.Pull(e.ctx, remoting.PullRequest{Queue: l.queue, Group: readerGroup, Offset: l.last.QueueOffset, Max: 1})
		if err != nil {
			return err
		}
		there = res.MinOffset > l.last.QueueOffset || len(res.Messages) > 0 && sameStored(res.Messages[0], l.last)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l.suspect = false
	if !there {
		e.logLost(l)
	}
	e.broadcast()
	return nil
}

// logLost reads a log that has lost its tail from its beginning: to apply a record again changes nothing. What this process has written there is
// written again, as far as it knows; the lock is held.
func (e *Engine) logLost(l *logReader) {
	e.cfg.Logger.Error("fact log lost its tail: facts that were acknowledged are gone, it is read anew", "log", l.queue.String(), "read", l.next)
	l.next, l.last = 0, nil
	if l.own {
		e.tracker.Remember(l.queue.Broker)
		delete(e.acked, l.queue.Broker) // see acknowledgeReturned
		e.poke(e.notify)
	}
}

func (e *Engine) applyLog(l *logReader, res *remoting.PullResult) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if res.NextOffset < l.next {
		e.logLost(l)
		return
	}
	closed := false
	for _, m := range res.Messages {
		l.last = seen(m)
		records, err := filter.DecodeLog(m.Body, m.QueueOffset)
		if err != nil {
			e.cfg.Logger.Error("fact cannot be read", "log", l.queue.String(), "offset", m.QueueOffset, "error", err)
			continue
		}
		for _, r := range records {
			if l.own {
				closed = e.tracker.Apply(l.queue.Broker, r) || closed
			} else {
				e.tracker.ApplyCopy(r)
				closed = closed || r.Kind == filter.Baseline || r.Kind == filter.Snapshot // what lies in a replica queue may be wanted now
			}
		}
	}
	l.next = res.NextOffset
	if closed {
		e.unsettleAll()
		e.scanAll()
	}
	e.unpark()
	e.broadcast()
}

// readTo returns once the unit's own logs are applied up to the given ends, by broker.
func (e *Engine) readTo(ctx context.Context, ends map[string]int64) error {
	return e.await(ctx, func() bool {
		reached := 0
		for _, l := range e.logs {
			if end, asked := ends[l.queue.Broker]; asked && l.own && !l.suspect && l.next >= end {
				reached++
			}
		}
		return reached == len(ends)
	})
}

// readLog returns once everything that one broker acknowledged for its log before the call is applied. A queue's maximum may lag
// behind what was acknowledged, so the end is that of a record written now.
func (e *Engine) readLog(ctx context.Context, broker string) error {
	end, err := e.appendLog(ctx, broker, filter.Record{Kind: filter.Ack, Group: e.set.group, Client: e.cfg.ClientID, Writer: e.writer})
	if err != nil {
		return err
	}
	return e.readTo(ctx, map[string]int64{broker: end})
}

// freshLoop reads logs to their end for parked messages, until the engine ends.
func (e *Engine) freshLoop() {
	for {
		select {
		case <-e.fresh:
		case <-e.ctx.Done():
			return
		}
		e.mu.Lock()
		stale := e.stale
		e.stale = map[string][]*item{}
		e.mu.Unlock()
		for broker, items := range stale {
			err := e.readLog(e.ctx, broker)
			e.mu.Lock()
			if err != nil { // asked again when they are decided about the next time
				e.cfg.Logger.Warn("fact log cannot be read to its end, trying again", "broker", broker, "error", err)
			}
			for _, it := range items {
				it.fresh, it.asked = err == nil, err == nil
			}
			e.unpark()
			e.mu.Unlock()
			if err != nil {
				pause(e.ctx, retryInterval)
			}
		}
	}
}

// appendLog writes records to the log of one broker, waits for its answer and returns the log's end behind them.
func (e *Engine) appendLog(ctx context.Context, broker string, rs ...filter.Record) (end int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.limits.call)
	defer cancel()
	q := remoting.Queue{Topic: msha.ProgressTopic, Broker: broker}
	res, err := e.cfg.Cluster.Send(ctx, q, readerGroup, &remoting.Message{Body: filter.EncodeRecords(rs), Properties: map[string]string{msha.PropertyUnit: e.cfg.Unit}})
	if err != nil && !errors.Is(err, remoting.ErrStored) {
		return 0, err
	}
	return res.QueueOffset + 1, nil
}

// insist repeats an append until it succeeds or ctx ends: records may be in the log twice, which changes nothing.
func (e *Engine) insist(ctx context.Context, broker string, rs ...filter.Record) error {
	for backoff := retryInterval; ; backoff = min(2*backoff, lastBackoff) {
		_, err := e.appendLog(ctx, broker, rs...)
		if err == nil || ctx.Err() != nil {
			return err
		}
		e.cfg.Logger.Warn("fact not written, trying again", "broker", broker, "kind", rs[0].Kind.String(), "error", err)
		pause(ctx, backoff)
	}
}
