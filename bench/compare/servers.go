package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/pair"
	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

const (
	unit1 = "unit-1"
	unit2 = "unit-2"
)

func otherUnit(unit string) string {
	if unit == unit1 {
		return unit2
	}
	return unit1
}

var quiet = slog.New(slog.DiscardHandler)

// servers are what the sides share: a cluster for each unit, and a metastore in which each side has its own documents.
type servers struct {
	*pair.Clusters
	store string // URL, without the side's namespace
	ends  []func()
}

// delays of retries: the first ones of RocketMQ would take 10 and 30 s.
func delays() []time.Duration {
	all := make([]time.Duration, 6)
	for i := range all {
		all[i] = time.Second
	}
	return all
}

func start(ctx context.Context, embedded bool) (_ *servers, err error) {
	s := &servers{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.Clusters, err = pair.Start(ctx, []string{unit1, unit2}, pair.Options{Embedded: embedded, DelayLevels: delays()}); err != nil {
		return nil, err
	}
	s.ends = append(s.ends, s.Stop)
	if embedded {
		store := memory.New()
		served := httptest.NewServer(serveStore(store))
		s.store = served.URL
		s.ends = append(s.ends, func() {
			store.Close() //nolint:errcheck // in memory; it ends the watches that the server waits for
			served.Close()
		})
		return s, nil
	}
	etcd, err := realstore.StartEtcd(ctx, nil)
	if err != nil {
		return nil, err
	}
	s.ends = append(s.ends, etcd.Stop)
	s.store = "etcd://" + etcd.Addr()
	return s, nil
}

func (s *servers) stop() {
	for i := len(s.ends) - 1; i >= 0; i-- {
		s.ends[i]()
	}
}

// retryTopic of a group. client-go sees its first retry only after most of a minute if the topic is not there before the group.
func retryTopic(group string) string { return "%RETRY%" + group }

// lag is how many messages of a topic a group has not committed in a unit.
func (s *servers) lag(ctx context.Context, unit, topic, group string) (lag int64, err error) {
	c := s.ByUnit[unit]
	err = s.eachQueue(ctx, unit, topic, func(q remoting.Queue, end int64) error {
		done, err := c.CommittedOffset(ctx, group, q)
		if err != nil && !errors.Is(err, msha.ErrNotFound) {
			return err
		}
		lag += end - done
		return nil
	})
	return lag, err
}

// length is how many messages a topic has had in a unit.
func (s *servers) length(ctx context.Context, unit, topic string) (n int64, err error) {
	return n, s.eachQueue(ctx, unit, topic, func(_ remoting.Queue, end int64) error {
		n += end
		return nil
	})
}

// eachQueue visits the queues of a topic with their ends; a topic that is not there has none.
func (s *servers) eachQueue(ctx context.Context, unit, topic string, visit func(q remoting.Queue, end int64) error) error {
	c := s.ByUnit[unit]
	queues, err := c.Queues(ctx, topic, false)
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return err
	}
	for _, q := range queues {
		end, err := c.MaxOffset(ctx, q)
		if err == nil {
			err = visit(q, end)
		}
		if err != nil {
			return fmt.Errorf("%s of %s: %w", q, unit, err)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
