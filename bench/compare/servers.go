package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/realmq"
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
	names    map[string]string // name server by unit
	clusters map[string]*remoting.Cluster
	store    string // URL, without the side's namespace
	ends     []func()
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
	s := &servers{names: map[string]string{}, clusters: map[string]*remoting.Cluster{}}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if err := s.startClusters(ctx, embedded); err != nil {
		return nil, err
	}
	client := remoting.NewClient(&remoting.Options{Logger: quiet})
	s.ends = append(s.ends, client.Close)
	for unit, name := range s.names {
		s.clusters[unit] = remoting.NewCluster([]string{name}, client)
	}
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

// startClusters starts one for each unit, both at once.
func (s *servers) startClusters(ctx context.Context, embedded bool) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all error
	for _, unit := range []string{unit1, unit2} {
		wg.Go(func() {
			name, end, err := startCluster(ctx, embedded, "broker-"+unit)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				all = errors.Join(all, fmt.Errorf("cluster of %s: %w", unit, err))
				return
			}
			s.names[unit], s.ends = name, append(s.ends, end)
		})
	}
	wg.Wait()
	return all
}

func startCluster(ctx context.Context, embedded bool, broker string) (nameServer string, end func(), err error) {
	if embedded {
		c, err := embedmq.Start(&embedmq.Options{Brokers: []string{broker}, DelayLevels: delays()})
		if err != nil {
			return "", nil, err
		}
		return c.NameServer(), c.Close, nil
	}
	c, err := realmq.Start(ctx, &realmq.Options{Version: realmq.V5, Brokers: []string{broker}, DelayLevels: delays(), HeapMB: 512})
	if err != nil {
		return "", nil, err
	}
	return c.NameServer(), c.Stop, nil
}

func (s *servers) stop() {
	for i := len(s.ends) - 1; i >= 0; i-- {
		s.ends[i]()
	}
}

// retryTopic of a group. client-go sees its first retry only after most of a minute if the topic is not there before the group.
func retryTopic(group string) string { return "%RETRY%" + group }

// createTopic makes a topic in both clusters, and waits until the name servers know it.
func (s *servers) createTopic(ctx context.Context, name string, queues int) error {
	for unit, c := range s.clusters {
		brokers, err := c.Brokers(ctx)
		if err != nil {
			return err
		}
		for _, addr := range brokers {
			if err := c.CreateTopic(ctx, addr, remoting.TopicConfig{Name: name, Read: queues, Write: queues}); err != nil {
				return fmt.Errorf("%s: %w", unit, err)
			}
		}
		for known := false; !known; {
			queues, err := c.Queues(ctx, name, true)
			if known = err == nil && len(queues) > 0; !known {
				c.Forget()
				if err := pause(ctx, 20*time.Millisecond); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// lag is how many messages of a topic a group has not committed in a unit.
func (s *servers) lag(ctx context.Context, unit, topic, group string) (lag int64, err error) {
	c := s.clusters[unit]
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
	c := s.clusters[unit]
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
