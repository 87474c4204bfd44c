//go:build real

package redis

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/realstore"
)

// The replica stands still while a switch is written, then takes over without it. min-replicas-to-write is not set: the master accepts.
func TestALostWriteOfAFailoverMarksTheStoreUnsafe(t *testing.T) {
	t.Parallel()
	server := realstore.Sentinel(t, nil)
	master, err := server.Primary(t.Context(), "")
	require.NoError(t, err)
	replica := server.Nodes()[1]
	var log logtest.Log
	s := open(t, server.Addrs(), Options{Master: realstore.MasterName, Logger: log.Logger()})
	r := put(t, s, "k", "copied", 0)
	r = put(t, s, "k", "copied too", r)
	w := watch(t, s, "k")
	w.until("copied too")
	require.Eventually(t, func() bool {
		got, _ := raw(t, replica.Addr()).HGet(t.Context(), s.documentKey("k"), "value").Result()
		return got == "copied too"
	}, patience, time.Millisecond)
	require.NoError(t, replica.Freeze())
	// Without the connection nothing waits in the replica's socket.
	require.NoError(t, raw(t, master.Addr()).ClientKillByFilter(t.Context(), "type", "replica").Err())
	put(t, s, "k", "lost", r)
	w.until("lost")
	require.NoError(t, s.Safe())
	master.Kill()
	require.NoError(t, replica.Thaw())
	require.Eventually(t, func() bool {
		now, err := server.Primary(context.Background(), "")
		return err == nil && now.Addr() == replica.Addr()
	}, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return s.Safe() != nil }, patience, 10*time.Millisecond)
	require.ErrorIs(t, s.Safe(), msha.ErrUnsafe)
	require.ErrorContains(t, s.Safe(), "revision went back from 3 to 2")
	t.Log(s.Safe())
	d, err := s.Get(t.Context(), "k")
	require.NoError(t, err, "tables are served")
	require.Equal(t, "copied too", string(d.Value))
	select {
	case d := <-w.ch:
		require.Fail(t, "the watch does not go back", "%v", d)
	case <-time.After(500 * time.Millisecond):
	}
	require.Eventually(t, func() bool { return log.Count("metastore is unsafe") > 0 }, patience, 10*time.Millisecond, "%s", &log)
	require.Equal(t, 1, log.Count("metastore is unsafe"), "%s", &log)
	require.NoError(t, open(t, server.Addrs(), Options{Master: realstore.MasterName}).Safe(), "a new store has seen nothing else")
}

func TestAFailoverWithoutLossStaysSafeAndIsFollowed(t *testing.T) {
	t.Parallel()
	server := realstore.Sentinel(t, nil)
	s := open(t, server.Addrs(), Options{Master: realstore.MasterName, Replicas: 1, Timeout: time.Second})
	require.Eventually(t, func() bool {
		d, _ := s.Get(t.Context(), "k")
		_, err := s.Put(t.Context(), "k", []byte("before"), d.Revision)
		return err == nil
	}, patience, 50*time.Millisecond, "a replica that has just been started acknowledges")
	w := watch(t, s, "k")
	w.until("before")
	join(t, s, "set", "a")
	master, err := server.Primary(t.Context(), "")
	require.NoError(t, err)
	master.Kill()
	require.Eventually(t, func() bool {
		now, err := server.Primary(context.Background(), "")
		return err == nil && now.Addr() != master.Addr()
	}, patience, 10*time.Millisecond)
	// There is no replica now: the write is stored, but its Put fails for want of one.
	var stored msha.Revision
	require.Eventually(t, func() bool { // an attempt that got no answer may be stored too
		var d msha.Document
		if d, err = s.Get(t.Context(), "k"); err != nil {
			return false
		}
		stored = d.Revision + 1
		_, err = s.Put(t.Context(), "k", []byte("after"), d.Revision)
		return err != nil && strings.Contains(err.Error(), "0 of 1 replicas")
	}, patience, 50*time.Millisecond, "%v", &err)
	operator(t, err, fmt.Sprintf("stored as revision %d, but 0 of 1 replicas", stored), "read it again")
	w.until("after")
	require.NoError(t, master.Restart(t.Context()))
	require.Eventually(t, func() bool {
		d, err := s.Get(t.Context(), "k")
		if err == nil {
			_, err = s.Put(t.Context(), "k", []byte("copied"), d.Revision)
		}
		return err == nil
	}, patience, 100*time.Millisecond, "the old master is a replica now")
	w.until("copied")
	listed(t, members(t, s, "set"), "a")
	require.NoError(t, s.Safe())
}

func TestAServerThatLostItsDataIsUnsafe(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, &realstore.RedisOptions{Config: map[string]string{"appendonly": "no"}})
	watching, reading, writing := open(t, server.Addrs(), Options{}), open(t, server.Addrs(), Options{}), open(t, server.Addrs(), Options{})
	r := put(t, watching, "k", "v", 0)
	w := watch(t, watching, "k")
	w.until("v")
	_, err := reading.Get(t.Context(), "k")
	require.NoError(t, err)
	require.NoError(t, server.Restart(t.Context()))
	require.Eventually(t, func() bool { return watching.Safe() != nil }, patience, time.Millisecond, "the watch alone notices")
	require.ErrorContains(t, watching.Safe(), "went back from 1 to 0")
	_, err = reading.Get(t.Context(), "k")
	require.ErrorIs(t, err, msha.ErrNotFound)
	require.ErrorIs(t, reading.Safe(), msha.ErrUnsafe)
	require.NoError(t, writing.Safe(), "it knew nothing")
	_, err = writing.Put(t.Context(), "k", []byte("v"), r)
	require.ErrorIs(t, err, msha.ErrConflict)
}

// The document is lost and created anew, until its revision is beyond the one known.
func TestAnotherHistoryWithAHigherRevisionIsUnsafe(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	for name, see := range map[string]func(s *Store) error{
		"Get":    func(s *Store) error { _, err := s.Get(t.Context(), "k"); return err },
		"Put":    func(s *Store) error { _, err := s.Put(t.Context(), "k", nil, 2); return err },
		"Delete": func(s *Store) error { return s.Delete(t.Context(), "k", 2) },
	} {
		require.NoError(t, raw(t, server.Addr()).FlushAll(t.Context()).Err())
		s, other := open(t, server.Addrs(), Options{}), open(t, server.Addrs(), Options{})
		put(t, s, "k", "v", 0)
		require.NoError(t, raw(t, server.Addr()).FlushAll(t.Context()).Err())
		put(t, other, "k", "b", put(t, other, "k", "a", 0))
		require.NoError(t, see(s), name)
		require.ErrorIs(t, s.Safe(), msha.ErrUnsafe, name)
		require.ErrorContains(t, s.Safe(), "another history", name)
		require.NoError(t, other.Safe())
	}
}

// Writes notice a lost history by themselves, also where no read comes in between.
func TestAWriteNoticesARevisionThatWentBack(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	s, c := open(t, server.Addrs(), Options{}), raw(t, server.Addr())
	r := put(t, s, "k", "v", 0)
	require.NoError(t, s.Delete(t.Context(), "k", r))
	require.NoError(t, c.Del(t.Context(), s.documentKey("k")).Err())
	put(t, s, "k", "v", 0)
	require.ErrorContains(t, s.Safe(), "went back from 2 to 1")
	s = open(t, server.Addrs(), Options{})
	r = put(t, s, "k", "v", 1)
	require.NoError(t, c.HSet(t.Context(), s.documentKey("k"), "revision", "1").Err())
	_, err := s.Put(t.Context(), "k", []byte("w"), r)
	require.ErrorIs(t, err, msha.ErrConflict)
	require.ErrorContains(t, s.Safe(), "went back from 2 to 1")
}

// A failover loses the last change, and before anybody looks another process makes changes of its own, up to the same revision or beyond.
func TestALostChangeIsKnownThoughTheRevisionIsNotLower(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	c := raw(t, server.Addr())
	for name, see := range map[string]func(s *Store, last msha.Revision) error{
		"Get": func(s *Store, _ msha.Revision) error { _, err := s.Get(t.Context(), "k"); return err },
		"Put": func(s *Store, last msha.Revision) error {
			_, err := s.Put(t.Context(), "k", []byte("x"), last)
			return err
		},
		"Delete": func(s *Store, last msha.Revision) error { return s.Delete(t.Context(), "k", last) },
	} {
		for _, more := range []int{1, 2, 15} {
			require.NoError(t, c.FlushAll(t.Context()).Err())
			s, other := open(t, server.Addrs(), Options{}), open(t, server.Addrs(), Options{})
			r := put(t, s, "k", "copied", 0)
			copied, err := c.Dump(t.Context(), s.documentKey("k")).Result()
			require.NoError(t, err)
			last := put(t, s, "k", "lost", r)
			require.NoError(t, c.RestoreReplace(t.Context(), s.documentKey("k"), 0, copied).Err())
			for range more {
				r = put(t, other, "k", "the other's", r)
			}
			if err := see(s, last); name != "Get" {
				require.ErrorIs(t, err, msha.ErrConflict, "%s after %d: it knows another change", name, more)
			}
			require.ErrorContains(t, s.Safe(), "another history", "%s after %d", name, more)
			d, err := other.Get(t.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, "the other's", string(d.Value))
			put(t, other, "k", "goes on", r)
			require.NoError(t, other.Safe())
		}
	}
}

// A connection may still lead to the former master, which is a replica now and behind.
func TestAReplicaThatIsBehindHasLostNothing(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	s, c := open(t, server.Addrs(), Options{}), raw(t, server.Addr())
	put(t, s, "k", "newer", put(t, s, "k", "older", 0))
	require.NoError(t, c.HSet(t.Context(), s.documentKey("k"), "revision", "1").Err())
	require.NoError(t, c.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
	_, err := s.Get(t.Context(), "k")
	operator(t, err, "READONLY", "replica")
	require.NoError(t, s.Safe())
	require.NoError(t, c.ReplicaOf(t.Context(), "no", "one").Err())
	require.NoError(t, c.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	d, err := s.Get(t.Context(), "k")
	require.NoError(t, err, "a master, though it takes no writes")
	require.Equal(t, "newer", string(d.Value))
	require.ErrorContains(t, s.Safe(), "went back from 2 to 1")
}

func TestARefusalTellsARevisionToo(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	s, other := open(t, server.Addrs(), Options{}), open(t, server.Addrs(), Options{})
	put(t, other, "k", "b", put(t, other, "k", "a", 0))
	_, err := s.Put(t.Context(), "k", []byte("c"), 1)
	require.ErrorIs(t, err, msha.ErrConflict)
	require.NoError(t, raw(t, server.Addr()).HSet(t.Context(), s.documentKey("k"), "revision", "1").Err())
	_, err = s.Get(t.Context(), "k")
	require.NoError(t, err)
	require.ErrorContains(t, s.Safe(), "went back from 2 to 1")
}

// replicated matches a master whose replica has everything: the lag is the seconds since its last word.
var replicated = regexp.MustCompile(`(?s)state=online,offset=(\d+),.*master_repl_offset:`)

func TestAWatchFollowsTheClusterToANewMaster(t *testing.T) {
	t.Parallel()
	server := realstore.RedisCluster(t, &realstore.ClusterOptions{Replicas: true})
	s, other := open(t, server.Addrs(), Options{Cluster: true}), open(t, server.Addrs(), Options{Cluster: true})
	put(t, other, "k", "before", 0)
	w := watch(t, s, "k")
	w.until("before")
	join(t, s, "set", "a")
	master, err := server.Primary(t.Context(), s.documentKey("k"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := raw(t, master.Addr()).Info(t.Context(), "replication").Result()
		return err == nil && replicated.MatchString(info)
	}, patience, 10*time.Millisecond)
	master.Kill()
	insist(t, other, "k", "after")
	w.until("after")
	insist(t, other, "k", "again")
	w.until("again")
	listed(t, members(t, other, "set"), "a")
	require.NoError(t, s.Safe())
}
