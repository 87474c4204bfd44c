//go:build real

package copychaos

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/replicate"
)

// topics are what is copied.
var topics = []string{"SMS", "MAIL"}

// unit is one site.
type unit struct {
	name    string
	servers []string // as the unit document has them
	account msha.Credentials
	cluster *realmq.Cluster // nil if it is embedded
	client  *remoting.Client
	mq      *remoting.Cluster
}

// world is the units of a test with their metastore.
type world struct {
	*testing.T
	ctx   context.Context
	store msha.MetaStore
	log   *logtest.Log
	units []*unit
}

// newWorld writes the unit document. The test's own access to each unit is by its account.
func newWorld(t *testing.T, ctx context.Context, store msha.MetaStore, units ...*unit) *world {
	t.Helper()
	w := &world{T: t, ctx: ctx, store: store, log: &logtest.Log{}, units: units}
	var doc msha.Units
	for _, u := range units {
		client := remoting.NewClient(&remoting.Options{Logger: quiet, Credentials: u.account})
		t.Cleanup(client.Close)
		u.client, u.mq = client, remoting.NewCluster(u.servers, client)
		doc.Units = append(doc.Units, msha.UnitInfo{Name: u.name, NameServers: u.servers, State: "live"})
	}
	value, err := json.Marshal(doc)
	require.NoError(t, err)
	_, err = store.Put(ctx, msha.UnitsKey, value, 0)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", w.log)
		}
	})
	return w
}

// sub is the same world for a part of the test.
func (w *world) sub(t *testing.T) *world {
	part := *w
	part.T = t
	return &part
}

var quiet = slog.New(slog.DiscardHandler)

// clusters starts real clusters, all at once.
func clusters(t *testing.T, options ...*realmq.Options) []*realmq.Cluster {
	t.Helper()
	out, errs := make([]*realmq.Cluster, len(options)), make([]error, len(options))
	done := make(chan int)
	for i, o := range options {
		go func() {
			out[i], errs[i] = realmq.Start(t.Context(), o)
			done <- i
		}()
	}
	for range options {
		<-done
	}
	for _, c := range out {
		if c != nil {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("RocketMQ %s:\n%s", c.Version(), c.Logs(10))
				}
				c.Stop()
			})
		}
	}
	for _, err := range errs {
		require.NoError(t, err)
	}
	return out
}

// on is a unit on a real cluster.
func on(name string, c *realmq.Cluster) *unit {
	return &unit{name: name, cluster: c, servers: []string{c.NameServer()}}
}

func (w *world) unit(name string) *unit {
	i := slices.IndexFunc(w.units, func(u *unit) bool { return u.name == name })
	return w.units[i]
}

func (u *unit) version() string { return u.cluster.Version() }

func (w *world) createGroup(u *unit, name string) {
	w.Helper()
	brokers, err := u.mq.Brokers(w.ctx)
	require.NoError(w, err)
	for _, addr := range brokers {
		require.NoError(w, u.mq.CreateGroup(w.ctx, addr, remoting.GroupConfig{Name: name}))
	}
}

func (w *world) createTopic(u *unit, topic string, queues int) {
	w.Helper()
	brokers, err := u.mq.Brokers(w.ctx)
	require.NoError(w, err)
	for _, addr := range brokers {
		require.NoError(w, u.mq.CreateTopic(w.ctx, addr, remoting.TopicConfig{Name: topic, Read: queues, Write: queues}))
	}
}

// replicate runs a replicator in this process; the options get a logger and a short look around.
func (w *world) replicate(origin *unit, o replicate.Options) (r *replicate.Replicator, stop func()) {
	w.Helper()
	if o.Topics == nil {
		o.Topics = topics
	}
	if o.Logger == nil {
		o.Logger = w.log.Logger()
	}
	o.Discover = 200 * time.Millisecond
	r, err := replicate.New(origin.name, w.store, &o)
	require.NoError(w, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(w, <-done)
		}
	}
	w.Cleanup(stop)
	return r, stop
}

// eventually waits for what must happen; the end of the test's context is the failure.
func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			w.Fatalf("%s: not in time", what)
		}
	}
}

// within bounds a test.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
