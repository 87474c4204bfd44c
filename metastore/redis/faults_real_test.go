//go:build real

package redis

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/realstore"
)

const loss, recovery = "metastore lost", "metastore is back"

func TestAWatchSeesTheLastValueAfterARestart(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	var log logtest.Log
	s := open(t, server.Addrs(), Options{Logger: log.Logger()})
	r := put(t, s, "k", "before", 0)
	w := watch(t, s, "k")
	w.until("before")
	server.Kill()
	require.Eventually(t, func() bool { return log.Count(loss) == 1 }, patience, time.Millisecond)
	require.NoError(t, server.Restart(t.Context()))
	other := open(t, server.Addrs(), Options{})
	put(t, other, "k", "after", r)
	w.until("after")
	require.Eventually(t, func() bool { return log.Count(recovery) == 1 }, patience, time.Millisecond)
	require.Equal(t, 1, log.Count(loss), "%s", &log)
	require.NoError(t, s.Safe())
}

func TestAWatchSeesTheLastValueAfterACutOf10s(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	p := proxy(t, server.Addr())
	var log logtest.Log
	s, outside := open(t, []string{p.Addr()}, Options{Logger: log.Logger(), MemberTTL: 30 * time.Second}), open(t, server.Addrs(), Options{})
	for _, key := range []string{"a", "b", "c"} {
		put(t, s, key, "before", 0)
	}
	a, b, c := watch(t, s, "a"), watch(t, s, "b"), watch(t, s, "c")
	for _, w := range []*watcher{a, b, c} {
		w.until("before")
	}
	before := p.Accepted()
	p.Cut()
	time.Sleep(10 * time.Second)
	insist(t, outside, "a", "meanwhile")
	insist(t, outside, "b", "meanwhile")
	p.Heal()
	a.until("meanwhile")
	b.until("meanwhile")
	insist(t, outside, "c", "after")
	c.until("after")
	require.Eventually(t, func() bool { return log.Count(recovery) == 1 }, patience, time.Millisecond)
	require.Equal(t, 1, log.Count(loss), "%s", &log)
	require.Less(t, p.Accepted()-before, 30, "attempts to connect, and connections after the cut")
	t.Logf("attempts to connect, and connections after the cut: %d", p.Accepted()-before)
}

// A blackholed connection gives no error: only the unanswered ping tells. The poll is switched off to have the notices alone.
func TestABlackholedConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	p := proxy(t, server.Addr())
	var log logtest.Log
	s, outside := open(t, []string{p.Addr()}, Options{Logger: log.Logger(), Poll: time.Hour}), open(t, server.Addrs(), Options{})
	r := put(t, s, "k", "before", 0)
	w := watch(t, s, "k")
	w.until("before")
	c, reads := raw(t, server.Addr()), -1
	require.Eventually(t, func() bool { // no read may be on its way, which would find out sooner
		before := reads
		reads = calls(t, c, "hmget")
		return reads == before
	}, patience, 200*time.Millisecond)
	p.Blackhole()
	began := time.Now()
	put(t, outside, "k", "meanwhile", r)
	require.Eventually(t, func() bool { return log.Count(loss) == 1 }, patience, time.Millisecond) // TCP itself would take a quarter of an hour
	require.Equal(t, 1, log.Count("what=notices"))
	require.Greater(t, time.Since(began), silence/2)
	p.Cut() // what was swallowed is not delivered late: only a new subscription and its read can tell
	p.Heal()
	w.until("meanwhile")
}

func TestALostNoticeIsFoundByThePoll(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	s := open(t, server.Addrs(), Options{Poll: 200 * time.Millisecond})
	put(t, s, "k", "before", 0)
	w := watch(t, s, "k")
	w.until("before")
	key := s.documentKey("k")
	require.NoError(t, raw(t, server.Addr()).HSet(t.Context(), key, "revision", "2", "value", "unannounced").Err())
	w.until("unannounced")
}

func TestRequestsEndWithTheirContextAndWithTheStore(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	s := open(t, server.Addrs(), Options{Timeout: time.Hour})
	put(t, s, "k", "v", 0)
	w, err := s.Watch(t.Context(), "k")
	require.NoError(t, err)
	<-w
	_, err = s.Join(t.Context(), "set", msha.Member{ID: "a"})
	require.NoError(t, err)
	require.NoError(t, server.Freeze())
	began := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err = s.Get(ctx, "k")
	require.Equal(t, context.Canceled, err)
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = s.Put(ctx, "k", nil, 1)
	require.Equal(t, context.DeadlineExceeded, err)
	waiting := make(chan error, 1)
	go func() {
		_, err := s.Get(t.Context(), "k")
		waiting <- err
	}()
	time.Sleep(50 * time.Millisecond) // let it be sent; it is ErrClosed either way
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-waiting, msha.ErrClosed)
	_, open := <-w
	require.False(t, open)
	require.Less(t, time.Since(began), patience)
	require.NoError(t, server.Thaw())
}

func TestNoRequestIsSentTwice(t *testing.T) {
	t.Parallel()
	server := realstore.RedisCluster(t, nil)
	s := open(t, server.Addrs(), Options{Cluster: true, Timeout: 5 * time.Second}) // what is to be answered is, also on a slow machine
	r := put(t, s, "k", "1", 0)
	node, err := server.Primary(t.Context(), s.documentKey("k"))
	require.NoError(t, err)
	c := raw(t, node.Addr())
	before := calls(t, c, "evalsha")
	require.NoError(t, node.Freeze())
	_, err = s.Put(t.Context(), "k", []byte("2"), r)
	require.ErrorContains(t, err, maybeStored)
	require.NoError(t, node.Thaw())
	require.Eventually(t, func() bool { d, err := s.Get(t.Context(), "k"); return err == nil && string(d.Value) == "2" }, patience, time.Millisecond,
		"the request waited in the server's socket")
	require.Equal(t, before+1, calls(t, c, "evalsha"))
	_, err = s.Put(t.Context(), "k", []byte("3"), r)
	require.ErrorIs(t, err, msha.ErrConflict)
}
