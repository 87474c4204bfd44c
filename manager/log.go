package manager

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	logGroup    = "MSHA_MANAGER" // side reads and appends: no subscription, no offsets
	logPullSize = 1024
)

// unitLog is the fold of one unit's fact logs, kept from call to call so that each reads only what is new.
type unitLog struct {
	unit    string
	cluster *remoting.Cluster
	log     *slog.Logger

	mu    sync.Mutex
	facts *filter.Facts
	next  map[remoting.Queue]int64 // own logs and copies: everything below is applied
	own   []remoting.Queue         // one per broker
}

func newUnitLog(unit string, cluster *remoting.Cluster, log *slog.Logger) *unitLog {
	return &unitLog{unit: unit, cluster: cluster, log: log, facts: filter.NewFacts(), next: map[remoting.Queue]int64{}}
}

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
	queues, err := l.cluster.Queues(ctx, msha.ProgressTopic, false)
	if err != nil {
		return msha.Errorf("facts.read", "unit "+l.unit, "has a consumer of package agent ever run there?", "%w", err)
	}
	l.own = queues
	for _, q := range queues {
		if err := l.follow(ctx, q, func(r filter.Record) { l.facts.Apply(q.Broker, r) }); err != nil {
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
			if err := l.follow(ctx, q, l.facts.ApplyCopy); err != nil {
				return err
			}
		}
	}
	return f(l.facts)
}

// follow applies one log from where the last call ended to its end.
func (l *unitLog) follow(ctx context.Context, q remoting.Queue, apply func(filter.Record)) error {
	for {
		res, err := l.cluster.Pull(ctx, remoting.PullRequest{Queue: q, Group: logGroup, Offset: l.next[q], Max: logPullSize})
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
		case res.Status == remoting.PullNoNew:
			return nil
		case res.Status == remoting.PullOffsetIllegal && res.NextOffset < l.next[q]:
			return msha.Errorf("facts.read", q.String(), "the broker lost its tail: restart the manager to read the log anew", "%w: offset %d read, the log ends at %d",
				msha.ErrMissingFacts, l.next[q], res.MaxOffset)
		}
		l.next[q] = res.NextOffset
	}
}

// append writes records to the unit's log on every broker.
func (l *unitLog) append(ctx context.Context, records []filter.Record) (map[remoting.Queue]int64, error) {
	addrs, err := l.cluster.Brokers(ctx)
	if err != nil {
		return nil, err
	}
	ends := map[remoting.Queue]int64{}
	for _, broker := range slices.Sorted(maps.Keys(addrs)) {
		q := remoting.Queue{Topic: msha.ProgressTopic, Broker: broker}
		for _, part := range filter.Split(records) {
			m := &remoting.Message{Body: filter.EncodeRecords(part), Properties: map[string]string{msha.PropertyUnit: l.unit}}
			res, err := l.cluster.Send(ctx, q, logGroup, m)
			if err != nil && !errors.Is(err, remoting.ErrStored) {
				return nil, err
			}
			ends[q] = res.QueueOffset + 1
		}
	}
	return ends, nil
}

// barrier returns once everything acknowledged by the unit's brokers before the call is applied. A queue's maximum may lag behind
// what was acknowledged, so the end is that of a record written now.
func (l *unitLog) barrier(ctx context.Context, others []string, version uint64, manager string) error {
	ends, err := l.append(ctx, []filter.Record{{Kind: filter.Ack, Client: manager, Writer: manager, Version: version}})
	if err != nil {
		return err
	}
	for {
		behind := false
		err := l.read(ctx, others, func(*filter.Facts) error {
			for q, end := range ends {
				behind = behind || l.next[q] < end
			}
			return nil
		})
		if err != nil || !behind {
			return err
		}
	}
}
