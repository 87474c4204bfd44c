// Package pair starts what programs that measure several units run on: a RocketMQ cluster of one broker for each unit, real or embedded.
package pair

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
)

// Options of Start.
type Options struct {
	Embedded    bool              // inside this process; otherwise real RocketMQ, version realmq.V5
	DelayLevels []time.Duration   // of retries; nil: RocketMQ's
	Config      map[string]string // further properties of real brokers
}

// Clusters are running, each with a client that ends with Stop.
type Clusters struct {
	NameServers map[string]string // by unit
	ByUnit      map[string]*remoting.Cluster
	sites       map[string]*site
	stops       []func()
}

// site is one of them.
type site struct {
	nameServer string
	kill       func() error
	restart    func(ctx context.Context) error
	stop       func()
}

// Start starts one cluster for each unit, all at once, and returns when they serve.
func Start(ctx context.Context, units []string, o Options) (*Clusters, error) {
	c := &Clusters{NameServers: map[string]string{}, ByUnit: map[string]*remoting.Cluster{}, sites: map[string]*site{}}
	client := remoting.NewClient(&remoting.Options{Logger: slog.New(slog.DiscardHandler)})
	c.stops = append(c.stops, client.Close)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all error
	for _, unit := range units {
		wg.Go(func() {
			s, err := o.start(ctx, "broker-"+unit)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				all = errors.Join(all, fmt.Errorf("cluster of %s: %w", unit, err))
				return
			}
			c.sites[unit], c.NameServers[unit], c.ByUnit[unit] = s, s.nameServer, remoting.NewCluster([]string{s.nameServer}, client)
			c.stops = append(c.stops, s.stop)
		})
	}
	wg.Wait()
	if all != nil {
		c.Stop()
		return nil, all
	}
	return c, nil
}

func (o Options) start(ctx context.Context, broker string) (*site, error) {
	if o.Embedded {
		c, err := embedmq.Start(&embedmq.Options{Brokers: []string{broker}, DelayLevels: o.DelayLevels})
		if err != nil {
			return nil, err
		}
		return &site{
			nameServer: c.NameServer(), stop: c.Close,
			kill:    func() error { return c.Kill(broker) },
			restart: func(context.Context) error { return c.Restart(broker, embedmq.KeepAll) },
		}, nil
	}
	c, err := realmq.Start(ctx, &realmq.Options{Version: realmq.V5, Brokers: []string{broker}, DelayLevels: o.DelayLevels, HeapMB: 512, Config: o.Config})
	if err != nil {
		return nil, err
	}
	return &site{
		nameServer: c.NameServer(), stop: c.Stop,
		kill:    func() error { return c.Kill(broker) },
		restart: func(ctx context.Context) error { return c.Restart(ctx, broker) },
	}, nil
}

// Kill ends a unit's broker the hard way.
func (c *Clusters) Kill(unit string) error { return c.sites[unit].kill() }

// Restart starts a killed broker on what it had stored.
func (c *Clusters) Restart(ctx context.Context, unit string) error {
	return c.sites[unit].restart(ctx)
}

// Stop ends the clients and the clusters.
func (c *Clusters) Stop() {
	for i := len(c.stops) - 1; i >= 0; i-- {
		c.stops[i]()
	}
	c.stops = nil
}

// CreateTopic makes a topic in all clusters, and waits until the name servers know it.
func (c *Clusters) CreateTopic(ctx context.Context, name string, queues int) error {
	for unit, cluster := range c.ByUnit {
		if err := cluster.EnsureTopic(ctx, remoting.TopicConfig{Name: name, Read: queues, Write: queues}); err != nil {
			return fmt.Errorf("%s: %w", unit, err)
		}
	}
	return nil
}
