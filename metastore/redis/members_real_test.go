//go:build real

package redis

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/realstore"
)

func join(t *testing.T, s *Store, set, id string) func(context.Context) error {
	t.Helper()
	leave, err := s.Join(t.Context(), set, msha.Member{ID: id, Metadata: map[string]string{"unit": "unit-1"}})
	require.NoError(t, err)
	return leave
}

func members(t *testing.T, s *Store, set string) <-chan []msha.Member {
	t.Helper()
	ch, err := s.WatchMembers(t.Context(), set)
	require.NoError(t, err)
	return ch
}

// The server loses everything, members too, since it does not persist: they join again by themselves.
func TestMembersSurviveARestart(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, &realstore.RedisOptions{Config: map[string]string{"appendonly": "no"}})
	s, other := open(t, server.Addrs(), Options{}), open(t, server.Addrs(), Options{})
	join(t, s, "one", "a")
	leave := join(t, s, "one", "b")
	join(t, s, "two", "a")
	ch := members(t, other, "one")
	listed(t, ch, "a", "b")
	require.NoError(t, server.Restart(t.Context()))
	c := raw(t, server.Addr()) // that nobody is listed for a moment the watch may or may not see
	for _, in := range [][2]string{{"one", "a"}, {"one", "b"}, {"two", "a"}} {
		require.Eventually(t, func() bool {
			back, err := c.HExists(t.Context(), s.recordsKey(in[0]), in[1]).Result()
			return err == nil && back
		}, patience, 10*time.Millisecond, "%v", in)
	}
	listed(t, members(t, other, "one"), "a", "b")
	listed(t, members(t, other, "two"), "a")
	require.NoError(t, leave(t.Context()))
	listed(t, ch, "a")
}

func TestADeadProcessExpiresAndItsIDIsFree(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	p := proxy(t, server.Addr())
	var log logtest.Log
	dying, s := open(t, []string{p.Addr()}, Options{Logger: log.Logger()}), open(t, server.Addrs(), Options{})
	heir := open(t, server.Addrs(), Options{MemberTTL: time.Hour}) // on a slow machine it would expire in between, and not keep the id
	join(t, dying, "set", "a")
	ch := members(t, s, "set")
	listed(t, ch, "a")
	p.Cut()
	began := time.Now()
	listed(t, ch)
	require.Less(t, time.Since(began), 10*memberTTL)
	leave := join(t, heir, "set", "a")
	listed(t, ch, "a")
	p.Heal()
	require.Eventually(t, func() bool { return log.Count("another process took the member's id") == 1 }, patience, time.Millisecond)
	time.Sleep(memberTTL) // more refreshes, which must not take the id away or log again
	require.Equal(t, 1, log.Count("another process took the member's id"))
	_, err := dying.Join(t.Context(), "set", msha.Member{ID: "a"})
	require.ErrorIs(t, err, msha.ErrConflict)
	require.NoError(t, leave(t.Context()))
	require.Eventually(t, func() bool { return log.Count("the member has its id back") == 1 }, patience, time.Millisecond)
	listed(t, ch, "a")
}

func TestMembersLeaveWithTheStore(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	leaving, s := open(t, server.Addrs(), Options{MemberTTL: time.Hour}), open(t, server.Addrs(), Options{MemberTTL: time.Hour})
	leaving.holder.farewell = patience
	join(t, leaving, "set", "a")
	ch := members(t, s, "set")
	listed(t, ch, "a")
	require.NoError(t, leaving.Close())
	listed(t, ch)
}

// A member that leaves while a refresh is on its way, which may list it again, waits for that.
func TestNoRefreshBringsBackWhoLeft(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	s := open(t, server.Addrs(), Options{MemberTTL: time.Hour})
	leave := join(t, s, "set", "a")
	s.holder.turn <- struct{}{} // as a refresh does
	done := make(chan error, 1)
	go func() { done <- leave(t.Context()) }()
	require.Eventually(t, func() bool {
		s.holder.mu.Lock()
		defer s.holder.mu.Unlock()
		return len(s.holder.members) == 0
	}, patience, time.Millisecond)
	select {
	case err := <-done:
		require.Fail(t, "left during a refresh", "%v", err)
	case <-time.After(200 * time.Millisecond):
	}
	<-s.holder.turn
	require.NoError(t, <-done)
	left, err := raw(t, server.Addr()).HExists(t.Context(), s.recordsKey("set"), "a").Result()
	require.NoError(t, err)
	require.False(t, left)
}

// Idle processes cost what the package doc says: a refresh three times in MemberTTL, here 9 s instead of 30, and a ping every 4 s.
func TestTheCostOfIdleProcesses(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	c := raw(t, server.Addr())
	const processes, ttl = 100, 9
	for i := range processes {
		s := open(t, server.Addrs(), Options{MemberTTL: ttl * time.Second})
		join(t, s, "agents", fmt.Sprint(i))
		put(t, s, fmt.Sprint("document ", i), "v", 0)
		watch(t, s, fmt.Sprint("document ", i)).until("v")
	}
	count := func() (n map[string]int) {
		n = map[string]int{}
		for _, command := range []string{"evalsha", "eval", "ping", "hmget", "hset", "publish", "subscribe"} {
			n[command] = calls(t, c, command)
		}
		return n
	}
	began, before := time.Now(), count()
	time.Sleep(ttl * time.Second)
	require.Eventually(t, func() bool { return calls(t, c, "evalsha")-before["evalsha"] >= 2*processes }, patience, 100*time.Millisecond, "refreshes")
	after := count()
	took := time.Since(began).Seconds()
	diff := map[string]int{}
	for command := range after {
		diff[command] = after[command] - before[command]
	}
	t.Logf("%d idle processes with a member (TTL %d s) and a watched document each, in %.1f s: %v", processes, ttl, took, diff)
	once := func(seconds float64) int { return int(processes * (took/seconds + 1)) } // in so many, and one under way
	require.LessOrEqual(t, diff["evalsha"], once(ttl/3*0.8), "refreshes, spread by a fifth")
	require.LessOrEqual(t, diff["ping"], once(silence.Seconds()))
	require.LessOrEqual(t, diff["hmget"], int(processes*took/60)+processes/2, "polls of a minute")
	require.Zero(t, diff["eval"]+diff["hset"]+diff["publish"], "heartbeats write no document and no record")
	require.Less(t, diff["subscribe"], processes, "and subscribe nothing again; some may have begun late")
}
