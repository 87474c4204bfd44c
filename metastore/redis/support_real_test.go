//go:build real

package redis

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// patience is how long anything may take that must happen.
const patience = time.Minute

// raw is a client of one node that sends what the driver would not.
func raw(t *testing.T, addr string) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: addr, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func put(t *testing.T, s *Store, key, value string, expect msha.Revision) msha.Revision {
	t.Helper()
	r, err := s.Put(t.Context(), key, []byte(value), expect)
	require.NoError(t, err)
	return r
}

// insist puts until it is stored, as a client does that reads again after each error.
func insist(t *testing.T, s *Store, key, value string) msha.Revision {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		d, _ := s.Get(ctx, key)
		if string(d.Value) == value {
			cancel()
			return d.Revision
		}
		r, err := s.Put(ctx, key, []byte(value), d.Revision)
		cancel()
		if err == nil {
			return r
		}
		require.True(t, time.Now().Before(end), "%v", err)
	}
}

// watcher takes what a watch delivers, and checks that nothing older follows a newer one.
type watcher struct {
	t  *testing.T
	ch <-chan msha.Document
}

func watch(t *testing.T, s *Store, key string) *watcher {
	t.Helper()
	ch, err := s.Watch(t.Context(), key)
	require.NoError(t, err)
	return &watcher{t, ch}
}

func (w *watcher) until(value string) {
	w.t.Helper()
	var last msha.Revision
	timeout := time.After(patience)
	for {
		select {
		case d, ok := <-w.ch:
			require.True(w.t, ok)
			require.GreaterOrEqual(w.t, d.Revision, last, "never an older one after a newer one")
			if last = d.Revision; string(d.Value) == value {
				return
			}
		case <-timeout:
			require.Fail(w.t, "not delivered", value)
		}
	}
}

func listed(t *testing.T, ch <-chan []msha.Member, ids ...string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case list, ok := <-ch:
			require.True(t, ok)
			got := make([]string, len(list))
			for i, m := range list {
				got[i] = m.ID
			}
			if strings.Join(got, " ") == strings.Join(ids, " ") {
				return
			}
		case <-timeout:
			require.Fail(t, "not listed", "%v", ids)
		}
	}
}

// calls is how often the server was asked for a command since it was started.
func calls(t *testing.T, c *goredis.Client, command string) int {
	t.Helper()
	info, err := c.Info(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	_, after, found := strings.Cut(info, "cmdstat_"+command+":calls=")
	if !found {
		return 0
	}
	number, _, _ := strings.Cut(after, ",")
	n, err := strconv.Atoi(number)
	require.NoError(t, err)
	return n
}
