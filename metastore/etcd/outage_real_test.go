//go:build real

package etcd

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/netproxy"
	"github.com/go-msha/msha/internal/realstore"
)

const (
	lossLine     = "metastore lost"
	recoveryLine = "metastore is back"
)

// outage plays one interruption under the eyes of a store that is behind the proxy: watched documents and members must be right
// afterwards, with one log line for the loss, one for the return, and few attempts to connect: some, and less than one per second.
func outage(t *testing.T, attempts int, begin func(*realstore.Server, *netproxy.Proxy), meanwhile bool, end func(*realstore.Server, *netproxy.Proxy)) {
	t.Helper()
	server := realstore.Etcd(t, nil)
	p := proxy(t, server.Addr())
	s, j := open(t, p.Addr(), Options{})
	direct, _ := open(t, server.Addr(), Options{})

	var watches []<-chan msha.Document
	last, revisions := make([]msha.Revision, 3), make([]msha.Revision, 3)
	for i := range last {
		revisions[i] = put(t, s, strconv.Itoa(i), "before", 0)
		for range 2 {
			ch, err := s.Watch(t.Context(), strconv.Itoa(i))
			require.NoError(t, err)
			watches = append(watches, ch)
			rising(t, ch, &last[i], revisions[i])
		}
	}
	members, err := direct.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	leave, err := s.Join(t.Context(), "agents", msha.Member{ID: "a", Metadata: map[string]string{"unit": "unit-1"}})
	require.NoError(t, err)
	listed := func(list []msha.Member) bool { return len(list) == 1 && list[0].Metadata["unit"] == "unit-1" }
	until(t, members, "the member", listed)

	began, before := time.Now(), p.Accepted()
	begin(server, p)
	if meanwhile {
		for n := range 5 {
			for i := range revisions {
				revisions[i] = put(t, direct, strconv.Itoa(i), fmt.Sprintf("meanwhile %d", n), revisions[i])
			}
		}
	}
	eventually(t, "the loss is logged", func() bool { return j.Count(lossLine) == 1 })
	require.Zero(t, j.Count(recoveryLine))
	end(server, p)
	tried := p.Accepted() - before
	attempts += int(time.Since(began) / time.Second)
	if !meanwhile {
		for i := range revisions {
			eventually(t, "the server serves again", func() bool { _, err := direct.Get(t.Context(), strconv.Itoa(i)); return err == nil })
			revisions[i] = put(t, direct, strconv.Itoa(i), "afterwards", revisions[i])
		}
	}
	for n, ch := range watches {
		seen := last[n/2]
		rising(t, ch, &seen, revisions[n/2])
	}
	eventually(t, "the return is logged", func() bool { return j.Count(recoveryLine) == 1 })
	require.Equal(t, 1, j.Count(lossLine), j)
	require.LessOrEqual(t, tried, attempts, "attempts to connect")
	t.Logf("%d attempts to connect", tried)
	require.NoError(t, s.Safe())

	// The member is there for good: its key hangs on a lease that is kept alive. It leaves when it wants to.
	eventually(t, "the member under a lease that lasts", func() bool {
		resp, err := direct.client.Get(t.Context(), direct.keys.member("agents", "a"))
		if err != nil || len(resp.Kvs) != 1 {
			return false
		}
		lease, err := direct.client.TimeToLive(t.Context(), clientv3.LeaseID(resp.Kvs[0].Lease))
		return err == nil && lease.TTL > 0
	})
	require.NoError(t, leave(within(t, patience)))
	until(t, members, "no member", func(list []msha.Member) bool { return len(list) == 0 })
}

func TestWatchesAndMembersSurviveServerRestart(t *testing.T) {
	t.Parallel()
	outage(t, 6, func(s *realstore.Server, _ *netproxy.Proxy) { s.Kill() }, false, func(s *realstore.Server, _ *netproxy.Proxy) {
		time.Sleep(3 * memberTTL) // down longer than the members' lease
		require.NoError(t, s.Restart(t.Context()))
	})
}

func TestWatchesAndMembersSurviveCut(t *testing.T) {
	t.Parallel()
	outage(t, 6, func(_ *realstore.Server, p *netproxy.Proxy) { p.Cut() }, true, func(_ *realstore.Server, p *netproxy.Proxy) {
		time.Sleep(10 * time.Second)
		p.Heal()
	})
}

func TestSilentConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	began := time.Now()
	outage(t, 6, func(_ *realstore.Server, p *netproxy.Proxy) { p.Blackhole(); began = time.Now() }, true, func(_ *realstore.Server, p *netproxy.Proxy) {
		t.Logf("noticed after %v; TCP itself would take a quarter of an hour", time.Since(began))
		p.Cut() // what was under way is lost
		p.Heal()
	})
}

func TestFrozenServer(t *testing.T) {
	t.Parallel()
	outage(t, 6, func(s *realstore.Server, _ *netproxy.Proxy) { require.NoError(t, s.Freeze()) }, false, func(s *realstore.Server, _ *netproxy.Proxy) {
		time.Sleep(8 * time.Second) // until the connection was given up, and new ones have been accepted and not answered
		require.NoError(t, s.Thaw())
	})
}

func TestCompactionDuringCut(t *testing.T) {
	t.Parallel()
	outage(t, 6, func(s *realstore.Server, p *netproxy.Proxy) {
		p.Cut()
		direct, _ := open(t, s.Addr(), Options{})
		r := put(t, direct, "other", "1", 0)
		for range 10 {
			r = put(t, direct, "other", "2", r)
		}
		_, err := direct.client.Compact(t.Context(), int64(r))
		require.NoError(t, err)
	}, true, func(_ *realstore.Server, p *netproxy.Proxy) { p.Heal() })
}

// The client resumes a watch by itself at another address when one dies, and is told that the revision is gone.
func TestCompactionBehindResumedWatch(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	a, b := proxy(t, server.Addr()), proxy(t, server.Addr())
	b.Cut() // so that the watches go by a
	j := &logtest.Log{}
	s, err := Open(t.Context(), []string{a.Addr(), b.Addr()}, logged(j, Options{MemberTTL: memberTTL}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	direct, _ := open(t, server.Addr(), Options{})
	r := put(t, direct, "k", "1", 0)
	ch, err := s.Watch(t.Context(), "k")
	require.NoError(t, err)
	members, err := s.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	until(t, members, "nobody", func(list []msha.Member) bool { return len(list) == 0 })
	var last msha.Revision
	rising(t, ch, &last, r)
	b.Heal()
	eventually(t, "a connection to each address", func() bool { return a.Open() == 1 && b.Open() == 1 })

	a.Blackhole()
	silent := time.Now()
	_, err = direct.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	for range 10 {
		r = put(t, direct, "k", "3", r)
	}
	_, err = direct.client.Compact(t.Context(), int64(r))
	require.NoError(t, err)
	rising(t, ch, &last, r)
	until(t, members, "the member", func(list []msha.Member) bool { return len(list) == 1 })
	require.Greater(t, time.Since(silent), pingAfter/2, "the watches went by the silent address")
	require.Zero(t, j.Count("compacted"), "a compaction is no loss\n%s", j)
}

func TestCloseDoesNotWaitForDeadServer(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	s, _ := open(t, server.Addr(), Options{})
	_, err := s.Watch(t.Context(), "k")
	require.NoError(t, err)
	_, err = s.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	require.NoError(t, server.Freeze())
	began := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(began), 3*time.Second)
	require.NoError(t, server.Thaw())
}
