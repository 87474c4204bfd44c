package manager

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	logGroup    = "MSHA_MANAGER" // side reads and appends: no subscription, no offsets
	logPullSize = 1024
	barrierPoll = time.Second // how long a broker may keep a read of what it has acknowledged and does not show yet
)

// unitLog is the fold of one unit's fact logs, kept from call to call so that each reads only what is new.
type unitLog struct {
	unit    string
	cluster *remoting.Cluster
	log     *slog.Logger

	mu   sync.Mutex
	main *fold            // the unit's own logs, with the copies of others
	lost map[string]*fold // by another unit: what is here of its logs, folded as if they were its own
	own  []remoting.Queue // one per broker

	known atomic.Pointer[[]string] // brokers in the unit document; outside mu, which is held while a unit that may be dead is asked
}

// fold is what was read of some logs.
type fold struct {
	facts *filter.Facts
	next  map[remoting.Queue]int64 // everything below is applied
}

func newFold() *fold { return &fold{facts: filter.NewFacts(), next: map[remoting.Queue]int64{}} }

func newUnitLog(unit string, cluster *remoting.Cluster, log *slog.Logger) *unitLog {
	return &unitLog{unit: unit, cluster: cluster, log: log, main: newFold(), lost: map[string]*fold{}}
}

// knows takes over what the unit document says.
func (l *unitLog) knows(brokers []string) { l.known.Store(&brokers) }

// brokers are the names of the unit's logs.
func (l *unitLog) brokers() []string {
	var out []string
	for _, q := range l.own {
		out = append(out, q.Broker)
	}
	return out
}

// read applies what the unit's logs and the copies of the other units' logs hold now, then calls f with the fold.
func (l *unitLog) read(ctx context.Context, others []string, f func(*filter.Facts) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.update(ctx, l.main, l.unit, others, nil); err != nil {
		return err
	}
	return f(l.main.facts)
}

// readLost is read with the facts of another unit beside the own ones, as far as they were copied here.
func (l *unitLog) readLost(ctx context.Context, unit string, others []string, f func(own, lost *filter.Facts) error) error {
	return l.read(ctx, others, func(own *filter.Facts) error {
		if l.lost[unit] == nil {
			l.lost[unit] = newFold()
		}
		if err := l.update(ctx, l.lost[unit], unit, others, nil); err != nil {
			return err
		}
		return f(own, l.lost[unit].facts)
	})
}

// fresh folds the logs anew, for somebody who looks at the facts longer than he may hold the others up.
func (l *unitLog) fresh(ctx context.Context, of string, others []string) (*filter.Facts, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := newFold()
	err := l.update(ctx, to, of, others, nil)
	return to.facts, err
}

// update applies the logs of the unit called of as its own, and the others as copies. Where an end is named, it waits for what is below.
func (l *unitLog) update(ctx context.Context, to *fold, of string, others []string, ends map[remoting.Queue]int64) error {
	apply := func(unit string, q remoting.Queue) error {
		return l.follow(ctx, to, q, ends[q], func(r filter.Record) {
			if unit == of {
				to.facts.Apply(logName(of == l.unit, q), r)
				return
			}
			to.facts.ApplyCopy(r)
			to.facts.ApplyHandOver(r)
		})
	}
	queues, err := l.cluster.Queues(ctx, msha.ProgressTopic, false)
	if err != nil {
		return msha.Errorf("facts.read", "unit "+l.unit, "has a consumer of package agent ever run there?", "%w", err)
	}
	l.own = queues
	for _, q := range queues {
		if err := apply(l.unit, q); err != nil {
			return err
		}
	}
	for _, other := range others {
		queues, err := l.cluster.Queues(ctx, msha.ReplicaTopic(msha.ProgressTopic, other), false)
		if errors.Is(err, msha.ErrNotFound) {
			continue // nothing is copied yet
		}
		if err != nil {
			return err
		}
		for _, q := range queues {
			if err := apply(other, q); err != nil {
				return err
			}
		}
	}
	return nil
}

// logName tells the logs of one unit apart: by their broker, or by where their copy is.
func logName(own bool, q remoting.Queue) string {
	if own {
		return q.Broker
	}
	return q.String()
}

// follow applies one log from where the last call ended to its end, which is not below the one that is named.
func (l *unitLog) follow(ctx context.Context, to *fold, q remoting.Queue, end int64, apply func(filter.Record)) error {
	for {
		req := remoting.PullRequest{Queue: q, Group: logGroup, Offset: to.next[q], Max: logPullSize}
		if to.next[q] < end {
			req.Suspend = barrierPoll
		}
		res, err := l.cluster.Pull(ctx, req)
		if err != nil {
			return err
		}
		for _, m := range res.Messages {
			records, err := filter.DecodeLog(m.Body, m.QueueOffset)
			if err != nil {
				return msha.Errorf("facts.read", q.String(), "somebody else wrote into the topic", "offset %d: %w", m.QueueOffset, err)
			}
			for _, r := range records {
				apply(r)
			}
		}
		switch {
		case res.Status == remoting.PullNoNew && to.next[q] < end:
			continue
		case res.Status == remoting.PullNoNew:
			return nil
		case res.Status == remoting.PullOffsetIllegal && res.NextOffset < to.next[q]:
			return msha.Errorf("facts.read", q.String(), "the broker lost its tail: restart the manager to read the log anew", "%w: offset %d read, the log ends at %d",
				msha.ErrMissingFacts, to.next[q], res.MaxOffset)
		}
		to.next[q] = res.NextOffset
	}
}

// present is an error unless every broker of the unit that is known is registered: what the log of one that is away holds would be passed
// over, and what is to be written to it would be missing.
func (l *unitLog) present(addrs map[string]string) error {
	var missing []string
	if known := l.known.Load(); known != nil {
		for _, broker := range *known {
			if addrs[broker] == "" {
				missing = append(missing, broker)
			}
		}
	}
	if len(missing) == 0 && len(addrs) > 0 {
		return nil
	}
	return msha.Errorf("facts.brokers", "unit "+l.unit+", brokers "+strings.Join(missing, ", "), "wait for them, or take them out of the unit document if they are gone for good",
		"master %w at the name servers", msha.ErrNotFound)
}

// append writes records to the unit's log on every broker.
func (l *unitLog) append(ctx context.Context, records []filter.Record) (map[remoting.Queue]int64, error) {
	addrs, err := l.cluster.Brokers(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.present(addrs); err != nil {
		return nil, err
	}
	ends := map[remoting.Queue]int64{}
	for _, broker := range slices.Sorted(maps.Keys(addrs)) {
		q := remoting.Queue{Topic: msha.ProgressTopic, Broker: broker}
		if ends[q], err = l.appendTo(ctx, broker, records); err != nil {
			return nil, err
		}
	}
	return ends, nil
}

// appendTo writes records to the log on one broker; end is the offset behind them.
func (l *unitLog) appendTo(ctx context.Context, broker string, records []filter.Record) (end int64, err error) {
	for _, part := range filter.Split(records) {
		m := &remoting.Message{Body: filter.EncodeRecords(part), Properties: map[string]string{msha.PropertyUnit: l.unit}}
		res, err := l.cluster.Send(ctx, remoting.Queue{Topic: msha.ProgressTopic, Broker: broker}, logGroup, m)
		if err != nil && !errors.Is(err, remoting.ErrStored) {
			return 0, err
		}
		end = res.QueueOffset + 1
	}
	return end, nil
}

// barrier calls f with a fold in which everything is applied that the unit's brokers had acknowledged before. A queue's maximum may lag behind
// what was acknowledged, so the end is that of a record written now.
func (l *unitLog) barrier(ctx context.Context, others []string, version uint64, manager string, f func(*filter.Facts) error) error {
	ends, err := l.append(ctx, []filter.Record{{Kind: filter.Ack, Client: manager, Writer: manager, Version: version}})
	if err != nil {
		return err
	}
	for {
		reached, err := l.reach(ctx, others, ends, f)
		if err != nil || reached {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond): // the name server does not list a log yet
		}
	}
}

// reach applies the logs and calls f, unless one of those that have to be read up to an end is not listed.
func (l *unitLog) reach(ctx context.Context, others []string, ends map[remoting.Queue]int64, f func(*filter.Facts) error) (reached bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.update(ctx, l.main, l.unit, others, ends); err != nil {
		return false, err
	}
	for q, end := range ends {
		if l.main.next[q] < end {
			return false, nil
		}
	}
	return true, f(l.main.facts)
}
