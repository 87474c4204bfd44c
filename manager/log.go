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

// unitLog is the fold of one unit's fact logs, kept from call to call so that each reads only what is new.
type unitLog struct {
	unit    string
	cluster *remoting.Cluster
	log     *slog.Logger
	settle  time.Duration // see settleTime

	mu   sync.Mutex
	main *fold            // the unit's own logs, with the copies of others
	lost map[string]*fold // by another unit: what is here of its logs, folded as if they were its own
	own  []remoting.Queue // one per broker

	known atomic.Pointer[[]string] // brokers in the unit document; outside mu, which is held while a unit that may be dead is asked
}

func newUnitLog(unit string, cluster *remoting.Cluster, log *slog.Logger) *unitLog {
	return &unitLog{unit: unit, cluster: cluster, log: log, settle: settleTime, main: newFold(), lost: map[string]*fold{}}
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

// update applies the logs of the unit called of as its own, and the others as copies. Where there is a mark, it waits for what is below. Once a
// log has lost its tail it begins anew.
func (l *unitLog) update(ctx context.Context, to *fold, of string, others []string, marks map[remoting.Queue]mark) error {
	for {
		err := l.readAll(ctx, to, of, others, marks)
		if !errors.Is(err, errLostTail) {
			return err
		}
		to.forget()
	}
}

func (l *unitLog) readAll(ctx context.Context, to *fold, of string, others []string, marks map[remoting.Queue]mark) error {
	apply := func(unit string, q remoting.Queue) error {
		return l.follow(ctx, to, q, marks, func(r filter.Record) {
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

// masters are the names of the unit's brokers, sorted; none may be away.
func (l *unitLog) masters(ctx context.Context) ([]string, error) {
	addrs, err := l.cluster.Brokers(ctx)
	if err == nil {
		err = l.present(addrs)
	}
	return slices.Sorted(maps.Keys(addrs)), err
}

// append writes records to the unit's log on every broker.
func (l *unitLog) append(ctx context.Context, records []filter.Record) error {
	brokers, err := l.masters(ctx)
	if err != nil {
		return err
	}
	for _, broker := range brokers {
		if err := l.appendTo(ctx, broker, records); err != nil {
			return err
		}
	}
	return nil
}

// appendTo writes records to the log on one broker.
func (l *unitLog) appendTo(ctx context.Context, broker string, records []filter.Record) error {
	_, err := l.write(ctx, l.cluster, broker, records)
	return err
}

// write returns the end of the log behind the records.
func (l *unitLog) write(ctx context.Context, to *remoting.Cluster, broker string, records []filter.Record) (end int64, err error) {
	for _, part := range filter.Split(records) {
		m := &remoting.Message{Body: filter.EncodeRecords(part), Properties: map[string]string{msha.PropertyUnit: l.unit}}
		res, err := to.Send(ctx, remoting.Queue{Topic: msha.ProgressTopic, Broker: broker}, logGroup, m)
		if err != nil && !errors.Is(err, remoting.ErrStored) {
			return 0, err
		}
		end = res.QueueOffset + 1
	}
	return end, nil
}

// barrier calls f with a fold in which everything is applied that the unit's brokers had acknowledged before. A queue's maximum may lag behind
// what was acknowledged, so the end is that of a record written now, and read through the connection by which it was written:
//
//	the record is stored at offset 99 → its broker comes back without it → the log ends at 99 for ever, or others fill it up
//
// Then it is written again.
func (l *unitLog) barrier(ctx context.Context, to *fold, others []string, version uint64, manager string, f func(*filter.Facts) error) error {
	for {
		marks, err := l.mark(ctx, to, filter.Record{Kind: filter.Ack, Client: manager, Writer: manager, Version: version})
		for reached := false; err == nil && !reached; {
			if reached, err = l.reach(ctx, to, others, marks, f); err == nil && !reached {
				err = sleep(ctx, 100*time.Millisecond) // the name server does not list a log yet
			}
		}
		if !errors.Is(err, errInterrupted) {
			return err
		}
		l.log.Warn("fact log: a broker's connection ended while the log was read to its end, which is written again", "unit", l.unit)
	}
}

// mark writes a record to the unit's log on every broker.
func (l *unitLog) mark(ctx context.Context, to *fold, r filter.Record) (map[remoting.Queue]mark, error) {
	brokers, err := l.masters(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	marks := map[remoting.Queue]mark{}
	for _, broker := range brokers {
		q := remoting.Queue{Topic: msha.ProgressTopic, Broker: broker}
		p := to.position(q)
		err := l.through(p, func() error {
			end, err := l.write(ctx, p.view, broker, []filter.Record{r})
			marks[q] = mark{end, p.view}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return marks, nil
}

// reach applies the logs and calls f, unless one of those that have to be read up to a mark is not listed.
func (l *unitLog) reach(ctx context.Context, to *fold, others []string, marks map[remoting.Queue]mark, f func(*filter.Facts) error) (reached bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.update(ctx, to, l.unit, others, marks); err != nil {
		return false, err
	}
	for q, m := range marks {
		if to.position(q).next < m.end {
			return false, nil
		}
	}
	return true, f(to.facts)
}
