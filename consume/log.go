package consume

import (
	"context"
	"errors"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	readerGroup   = "MSHA_ENGINE" // side reads and the fact log: no subscription, no offsets
	longPoll      = 15 * time.Second
	callTimeout   = 10 * time.Second
	retryInterval = 200 * time.Millisecond
)

// logReader follows the fact log of one broker, the unit's own or the copy of another unit's.
type logReader struct {
	queue remoting.Queue
	own   bool
	next  int64 // under the engine's lock: everything below is applied
}

// makeLog creates the fact log's topic with one queue per broker.
func (e *Engine) makeLog(ctx context.Context) error {
	brokers, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return err
	}
	for _, addr := range brokers {
		_, err := e.cfg.Cluster.TopicConfig(ctx, addr, msha.ProgressTopic)
		if errors.Is(err, msha.ErrNotFound) {
			err = e.cfg.Cluster.CreateTopic(ctx, addr, remoting.TopicConfig{Name: msha.ProgressTopic, Read: 1, Write: 1})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openLogs starts a reader for each log that has none yet.
func (e *Engine) openLogs(ctx context.Context) error {
	topics := []string{msha.ProgressTopic}
	for _, unit := range e.cfg.OtherUnits() {
		topics = append(topics, msha.ReplicaTopic(msha.ProgressTopic, unit))
	}
	for i, topic := range topics {
		queues, err := e.cfg.Cluster.Queues(ctx, topic, false)
		if errors.Is(err, msha.ErrNotFound) && i > 0 {
			continue // not copied yet
		}
		if err != nil {
			return err
		}
		for _, q := range queues {
			e.mu.Lock()
			if e.logs[q] == nil {
				l := &logReader{queue: q, own: i == 0}
				e.logs[q] = l
				e.wg.Go(func() { e.followLog(l) })
			}
			e.mu.Unlock()
		}
	}
	return nil
}

func (e *Engine) followLog(l *logReader) {
	for e.ctx.Err() == nil {
		res, err := e.cfg.Cluster.Pull(e.ctx, remoting.PullRequest{Queue: l.queue, Group: readerGroup, Offset: l.next, Max: 256, Suspend: longPoll})
		if err != nil {
			e.pause(retryInterval)
			continue
		}
		if res.Status == remoting.PullNoNew {
			continue
		}
		e.applyLog(l, res)
	}
}

func (e *Engine) applyLog(l *logReader, res *remoting.PullResult) {
	e.mu.Lock()
	defer e.mu.Unlock()
	closed := false
	for _, m := range res.Messages {
		records, err := filter.DecodeRecords(m.Body)
		if err != nil {
			e.cfg.Logger.Error("fact cannot be read", "log", l.queue.String(), "offset", m.QueueOffset, "error", err)
			continue
		}
		for _, r := range records {
			if l.own {
				closed = e.tracker.Apply(l.queue.Broker, r) || closed
			} else {
				e.tracker.ApplyCopy(r)
			}
		}
	}
	l.next = res.NextOffset
	if closed {
		e.poke(e.scan)
	}
	e.unpark()
}

// readTo returns once the unit's own logs are applied up to the given ends, by broker.
func (e *Engine) readTo(ctx context.Context, ends map[string]int64) error {
	return e.await(ctx, func() bool {
		for _, l := range e.logs {
			if l.own && l.next < ends[l.queue.Broker] {
				return false
			}
		}
		return true
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

// appendLog writes records to the log of one broker, waits for its answer and returns the log's end behind them.
func (e *Engine) appendLog(ctx context.Context, broker string, rs ...filter.Record) (end int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
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
	for {
		_, err := e.appendLog(ctx, broker, rs...)
		if err == nil || ctx.Err() != nil {
			return err
		}
		e.cfg.Logger.Warn("fact not written, trying again", "broker", broker, "kind", rs[0].Kind.String(), "error", err)
		e.pause(retryInterval)
	}
}

// pause waits, shorter if the engine ends.
func (e *Engine) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.ctx.Done():
	}
}
