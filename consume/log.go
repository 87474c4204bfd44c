package consume

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// logReader follows the fact log of one broker, the unit's own or the copy of another unit's.
type logReader struct {
	queue      remoting.Queue
	own        bool
	publishing token         // of an own one: one publication at a time
	soon       chan struct{} // facts are worth publishing before their time

	// Under the engine's lock:
	next    int64              // everything below is applied
	last    *remoting.Message  // read last, body dropped
	suspect bool               // the broker was away: it may have lost what was read, and stored other records in its place
	broker  *remoting.Cluster  // pinned: what is read through it, and committed, is of one run of the broker
	cancel  context.CancelFunc // of the read under way
}

const lastLogBackoff = time.Second // nothing starts while a log is in doubt

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
		l := &logReader{queue: q, own: own, publishing: newToken(), soon: make(chan struct{}, 1), suspect: true, broker: e.cfg.Cluster.Pin(), cancel: func() {}}
		e.logs[q] = l
		e.wg.Go(func() { e.followLog(l) })
		if own {
			e.wg.Go(func() { e.publishLoop(l) })
		}
	}
}

// ownLog is the reader of a broker's own log, nil if it is not followed yet; the lock is held.
func (e *Engine) ownLog(broker string) *logReader {
	return e.logs[remoting.Queue{Topic: msha.ProgressTopic, Broker: broker}]
}

func (e *Engine) followLog(l *logReader) {
	backoff, failures := retryInterval, 0
	for e.ctx.Err() == nil {
		err := e.readOnLog(l)
		if err == nil {
			if failures > 0 {
				e.cfg.Logger.Info("fact log is read again", "log", l.queue.String())
			}
			backoff, failures = retryInterval, 0
			continue
		}
		if failures == 0 && e.ctx.Err() == nil {
			e.cfg.Logger.Warn("fact log cannot be read, trying again", "log", l.queue.String(), "error", err)
		}
		failures++
		if errors.Is(err, remoting.ErrDropped) || failures > 2 { // a broker that is only slow has lost nothing, but another one may be in its place
			e.suspectLog(l)
		}
		pause(e.ctx, backoff)
		backoff = min(2*backoff, lastLogBackoff)
	}
}

// readOnLog reads once, after a look whether the log is what it was if there is a doubt.
func (e *Engine) readOnLog(l *logReader) error {
	e.mu.Lock()
	ctx, cancel := context.WithCancel(e.ctx)
	suspect, broker, from := l.suspect, l.broker, l.next
	l.cancel = cancel
	e.mu.Unlock()
	defer cancel()
	if suspect {
		return e.verifyLog(l)
	}
	res, err := broker.Pull(ctx, remoting.PullRequest{Queue: l.queue, Group: readerGroup, Offset: from, Max: 256, Suspend: longPoll})
	switch {
	case ctx.Err() != nil: // to be read anew
		return nil
	case err != nil:
		return err
	case res.Status != remoting.PullNoNew:
		e.applyLog(l, from, res)
	}
	return nil
}

// suspectLog has nobody rely on a log as read until it is verified, through a new connection.
func (e *Engine) suspectLog(l *logReader) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.suspect, l.broker = true, e.cfg.Cluster.Pin()
}

// verifyLog looks, after an interruption, whether the record read last is still where it was:
//
//	the broker loses the tail of the log, which was read up to offset 100 → others write new records from offset 95 on, more than were lost → this
//	process, which reads on at offset 100, would never see the first of them
func (e *Engine) verifyLog(l *logReader) error {
	e.mu.Lock()
	last, broker := l.last, l.broker
	e.mu.Unlock()
	at := int64(0)
	if last != nil {
		at = last.QueueOffset
	}
	res, err := broker.Pull(e.ctx, remoting.PullRequest{Queue: l.queue, Group: readerGroup, Offset: at, Max: 1})
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if l.last != last { // to be read anew
		return nil
	}
	l.suspect = false
	switch {
	case last == nil:
	case res.MinOffset <= last.QueueOffset && (len(res.Messages) == 0 || !sameStored(res.Messages[0], last)):
		e.logLost(l)
	case l.own:
		e.wg.Go(func() { e.endUnsent(l.queue.Broker) }) // what was written there may be lost before it was read
	}
	e.wakeAll()
	e.broadcast()
	return nil
}

// applyLog applies what was read from an offset on.
func (e *Engine) applyLog(l *logReader, from int64, res *remoting.PullResult) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if from != l.next { // to be read anew
		return
	}
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
	return e.appendThrough(ctx, e.cfg.Cluster, broker, rs...)
}

func (e *Engine) appendThrough(ctx context.Context, cluster *remoting.Cluster, broker string, rs ...filter.Record) (end int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.limits.call)
	defer cancel()
	q := remoting.Queue{Topic: msha.ProgressTopic, Broker: broker}
	res, err := cluster.Send(ctx, q, readerGroup, &remoting.Message{Body: filter.EncodeRecords(rs), Properties: map[string]string{msha.PropertyUnit: e.cfg.Unit}})
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
