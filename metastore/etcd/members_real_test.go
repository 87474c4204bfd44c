//go:build real

package etcd

import (
	"bufio"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/realstore"
)

func ids(list []msha.Member) []string {
	out := []string{}
	for _, m := range list {
		out = append(out, m.ID)
	}
	return out
}

func listed(want ...string) func([]msha.Member) bool {
	return func(list []msha.Member) bool {
		if len(list) != len(want) {
			return false
		}
		for i, id := range ids(list) {
			if id != want[i] {
				return false
			}
		}
		return true
	}
}

// received counts the messages that the server got from its clients.
func received(t *testing.T, server *realstore.Server) (count int) {
	t.Helper()
	resp, err := http.Get("http://" + server.Addr() + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // read to its end
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), "} "); strings.HasPrefix(name, "grpc_server_msg_received_total") {
			n, err := strconv.ParseFloat(value, 64)
			require.NoError(t, err)
			count += int(n)
		}
	}
	require.NotZero(t, count)
	return count
}

func TestMembersOfOneStoreShareOneLease(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	const ttl = 6 * time.Second
	s, _ := open(t, server.Addr(), Options{MemberTTL: ttl})
	leases := func() int {
		resp, err := s.client.Leases(t.Context())
		require.NoError(t, err)
		return len(resp.Leases)
	}
	var leave []func(context.Context) error
	for _, id := range []string{"a", "b", "c"} {
		l, err := s.Join(t.Context(), "agents", msha.Member{ID: id})
		require.NoError(t, err)
		leave = append(leave, l)
	}
	require.Equal(t, 1, leases())
	before, err := s.client.Get(t.Context(), s.keys.all(), clientv3.WithPrefix())
	require.NoError(t, err)
	began, requests := time.Now(), received(t, server)
	time.Sleep(2 * ttl)
	requests = received(t, server) - requests
	require.LessOrEqual(t, requests, 4+int(3*time.Since(began)/ttl), "three heartbeats per time to live, whatever the number of members")
	after, err := s.client.Get(t.Context(), s.keys.all(), clientv3.WithPrefix())
	require.NoError(t, err)
	require.Equal(t, before.Header.Revision, after.Header.Revision, "heartbeats write nothing")
	require.Len(t, after.Kvs, 3)
	for _, l := range leave {
		require.NoError(t, l(t.Context()))
		require.NoError(t, l(t.Context()), "leaving twice is leaving")
	}
	eventually(t, "without members no lease is kept", func() bool { return leases() == 0 })
}

func TestDeadProcessDisappearsAndClosedOneAtOnce(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	p := proxy(t, server.Addr())
	dead, _ := open(t, p.Addr(), Options{})
	closing, _ := open(t, server.Addr(), Options{MemberTTL: time.Hour})
	closing.session.farewell = patience
	watcher, _ := open(t, server.Addr(), Options{})
	ch, err := watcher.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	_, err = dead.Join(t.Context(), "agents", msha.Member{ID: "dead"})
	require.NoError(t, err)
	_, err = closing.Join(t.Context(), "agents", msha.Member{ID: "closing"})
	require.NoError(t, err)
	until(t, ch, "both", listed("closing", "dead"))
	require.NoError(t, closing.Close())
	until(t, ch, "one", listed("dead"))
	p.Cut()
	until(t, ch, "nobody", listed())
	p.Heal()
	until(t, ch, "the one that was only cut off", listed("dead"))
}

func TestReturningMemberStealsNothing(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	p := proxy(t, server.Addr())
	first, j := open(t, p.Addr(), Options{})
	second, _ := open(t, server.Addr(), Options{MemberTTL: time.Hour}) // on a slow machine it would expire in between
	ch, err := second.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	leaveFirst, err := first.Join(t.Context(), "agents", msha.Member{ID: "a", Metadata: map[string]string{"of": "first"}})
	require.NoError(t, err)
	until(t, ch, "the first", listed("a"))
	p.Cut()
	until(t, ch, "nobody", listed())
	leave, err := second.Join(t.Context(), "agents", msha.Member{ID: "a", Metadata: map[string]string{"of": "second"}})
	require.NoError(t, err)
	p.Heal()
	eventually(t, "the first notices", func() bool { return j.Count("another process took the member id") == 1 })
	time.Sleep(2 * memberTTL) // it tries again
	require.Equal(t, 1, j.Count("another process took the member id"), "logged once")
	until(t, ch, "the second", func(list []msha.Member) bool { return len(list) == 1 && list[0].Metadata["of"] == "second" })
	require.NoError(t, leave(t.Context()))
	until(t, ch, "the first again", func(list []msha.Member) bool { return len(list) == 1 && list[0].Metadata["of"] == "first" })
	eventually(t, "the return is logged", func() bool { return j.Count("the member is listed again") == 1 })
	require.NoError(t, leaveFirst(t.Context()))
}

func TestDeletedEntryIsMadeAgain(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	p := proxy(t, server.Addr())
	s, _ := open(t, p.Addr(), Options{})
	direct, _ := open(t, server.Addr(), Options{})
	ch, err := direct.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	_, err = s.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	until(t, ch, "the member", listed("a"))
	_, err = direct.client.Delete(t.Context(), direct.keys.member("agents", "a"))
	require.NoError(t, err)
	until(t, ch, "nobody", listed())
	p.Cut() // shorter than the lease lasts: only the entry is missing
	p.Heal()
	until(t, ch, "the member again", listed("a"))
}

func TestRevokedLeaseIsReplaced(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	s, j := open(t, server.Addr(), Options{})
	ch, err := s.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	_, err = s.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	until(t, ch, "the member", listed("a"))
	lease := func() clientv3.LeaseID { // 0 while there is no entry, which the watch may not see
		resp, err := s.client.Get(t.Context(), s.keys.member("agents", "a"))
		require.NoError(t, err)
		if len(resp.Kvs) == 0 {
			return 0
		}
		return clientv3.LeaseID(resp.Kvs[0].Lease)
	}
	first := lease()
	_, err = s.client.Revoke(t.Context(), first)
	require.NoError(t, err)
	eventually(t, "the member again", func() bool { l := lease(); return l != 0 && l != first })
	again, err := s.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	until(t, again, "the member again", listed("a"))
	require.Zero(t, j.Count(lossLine), "the server was there all the time")
}

func TestJoinAndLeaveWithoutServer(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	p := proxy(t, server.Addr())
	s, _ := open(t, p.Addr(), Options{MemberTTL: time.Hour}) // nothing disappears by itself
	direct, _ := open(t, server.Addr(), Options{})
	ch, err := direct.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	leave, err := s.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	until(t, ch, "the member", listed("a"))

	p.Cut()
	explained(t, leave(within(t, patience)), "metastore.leave", "agents/a", "etcd runs")
	_, err = s.Join(within(t, patience), "agents", msha.Member{ID: "b"})
	explained(t, err, "metastore.join", "agents/b", "etcd runs")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	p.Blackhole()
	_, err = s.Join(ctx, "agents", msha.Member{ID: "c"})
	require.Equal(t, context.DeadlineExceeded, err)
	p.Heal()
	until(t, ch, "who wanted to leave has left", listed())
	_, err = s.Join(within(t, patience), "agents", msha.Member{ID: "d"})
	require.NoError(t, err)
	until(t, ch, "nobody but the last, also not who did not get in", listed("d"))
	eventually(t, "nothing is left to do", func() bool {
		s.session.mu.Lock()
		defer s.session.mu.Unlock()
		return len(s.session.stays) == 1
	})
}

func TestForeignEntryHasAnID(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	s, _ := open(t, server.Addr(), Options{})
	_, err := s.client.Put(t.Context(), s.keys.member("agents", "by hand"), "{")
	require.NoError(t, err)
	ch, err := s.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	until(t, ch, "both kinds", listed("by hand"))
	_, err = s.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	until(t, ch, "both kinds", listed("a", "by hand"))
	_, err = s.Join(t.Context(), "agents", msha.Member{ID: "by hand"})
	require.ErrorIs(t, err, msha.ErrConflict)
	_, err = s.Join(t.Context(), "agents", msha.Member{})
	require.ErrorIs(t, err, msha.ErrInvalid)
}
