//go:build real

package etcd

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/netproxy"
	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/metastore/metastoretest"
)

// memberTTL of the tests; etcd's least is the next second above 1.5 election timeouts.
const memberTTL = 2 * time.Second

// patience bounds every wait: the longest are a silent connection's death and a backoff, on a busy machine.
const patience = time.Minute

// logged makes a store write to the log.
func logged(j *logtest.Log, o Options) *Options {
	o.Logger = j.Logger()
	return &o
}

// within is a context that ends with the test at the latest.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// open connects to addr; what the store logs is in the journal.
func open(t *testing.T, addr string, o Options) (*Store, *logtest.Log) {
	t.Helper()
	j := &logtest.Log{}
	if o.MemberTTL == 0 {
		o.MemberTTL = memberTTL
	}
	s, err := Open(t.Context(), []string{addr}, logged(j, o))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		if t.Failed() {
			t.Logf("log of the store at %s:\n%s", addr, j)
		}
	})
	return s, j
}

func proxy(t *testing.T, target string) *netproxy.Proxy {
	t.Helper()
	p, err := netproxy.Start(target)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// eventually polls until done says so.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	require.Eventually(t, done, patience, 10*time.Millisecond, what)
}

// until receives until done says so.
func until[T any](t *testing.T, ch <-chan T, what string, done func(T) bool) T {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case v, ok := <-ch:
			require.True(t, ok, "closed while waiting for %s", what)
			if done(v) {
				return v
			}
		case <-timeout:
			require.Fail(t, "waited too long", what)
		}
	}
}

// rising follows a watch until revision want and checks that revisions never go down.
func rising(t *testing.T, ch <-chan msha.Document, last *msha.Revision, want msha.Revision) msha.Document {
	t.Helper()
	return until(t, ch, "the newest document", func(d msha.Document) bool {
		require.GreaterOrEqual(t, d.Revision, *last)
		*last = d.Revision
		return d.Revision == want
	})
}

func put(t *testing.T, s msha.MetaStore, key, value string, expect msha.Revision) msha.Revision {
	t.Helper()
	r, err := s.Put(within(t, patience), key, []byte(value), expect)
	require.NoError(t, err)
	return r
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	metastoretest.Run(t, func(t *testing.T) metastoretest.Harness {
		store, _ := open(t, server.Addr(), Options{})
		second, _ := open(t, server.Addr(), Options{})
		return metastoretest.Harness{Store: store, Second: second, Members: store, TooLarge: 1<<20 + 1}
	})
}

// TestConformanceAcrossOutages has fewer racing writes: they all go through the proxy.
func TestConformanceAcrossOutages(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	p := proxy(t, server.Addr())
	metastoretest.Run(t, func(t *testing.T) metastoretest.Harness {
		store, _ := open(t, p.Addr(), Options{})
		second, _ := open(t, p.Addr(), Options{})
		outside, _ := open(t, server.Addr(), Options{})
		return metastoretest.Harness{
			Store: store, Second: second, Members: store, TooLarge: 1<<20 + 1, Outside: outside, MemberTTL: memberTTL, Patience: patience, Writes: 20,
			Cut: func() func() {
				p.Cut()
				return p.Heal
			},
			Restart: func() { require.NoError(t, server.Restart(t.Context())) },
		}
	})
}

func TestRevisionZeroDeletesNothing(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	s, _ := open(t, server.Addr(), Options{})
	require.ErrorIs(t, s.Delete(t.Context(), "k", 0), msha.ErrNotFound)
	r := put(t, s, "k", "v", 0)
	require.ErrorIs(t, s.Delete(t.Context(), "k", 0), msha.ErrConflict)
	require.NoError(t, s.Delete(t.Context(), "k", r))
}

func TestDeletionByAnotherClientIsWatched(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	s, _ := open(t, server.Addr(), Options{})
	other, _ := open(t, server.Addr(), Options{})
	ch, err := s.Watch(t.Context(), "k")
	require.NoError(t, err)
	until(t, ch, "nothing", func(d msha.Document) bool { return d.Revision == 0 })
	for range 3 {
		var last msha.Revision
		r := put(t, other, "k", "v", 0)
		rising(t, ch, &last, r)
		require.NoError(t, other.Delete(t.Context(), "k", r))
		d := until(t, ch, "the deletion", func(d msha.Document) bool { return d.Revision != r })
		require.Equal(t, msha.Document{Key: "k"}, d)
	}
}

func TestClientOfTheCallerStaysOpen(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	client, err := clientv3.New(clientv3.Config{Endpoints: server.Addrs(), Logger: zap.NewNop()})
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	s, err := New(client, &Options{Prefix: "/here/"})
	require.NoError(t, err)
	ch, err := s.Watch(t.Context(), "k")
	require.NoError(t, err)
	var last msha.Revision
	rising(t, ch, &last, put(t, s, "k", "v", 0))
	s.session.farewell = patience
	_, err = s.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	resp, err := client.Get(t.Context(), "/here/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1, "the member left")
	require.Equal(t, "/here/documents/k", string(resp.Kvs[0].Key))
}
