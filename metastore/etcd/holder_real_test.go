//go:build real

package etcd

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/child"
	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/metastore/lease"
)

const (
	holderAddr = "MSHA_TEST_ETCD_HOLDER" // makes the test binary a process that holds a lease at this address
	leaseKey   = "msha.leases.frozen"
)

func leaseOptions(ttl time.Duration) *lease.Options {
	return &lease.Options{TTL: ttl, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// TestHolderProcess is the body of the process that TestFrozenHolderDoesNotTrustItself starts; by itself it tests nothing.
func TestHolderProcess(t *testing.T) {
	addr := os.Getenv(holderAddr)
	if addr == "" {
		return
	}
	s, err := Open(t.Context(), []string{addr}, nil)
	require.NoError(t, err)
	held, err := lease.Acquire(t.Context(), s, leaseKey, "child", leaseOptions(5*time.Second))
	require.NoError(t, err)
	for held.Check() == nil {
		looked := time.Now()
		if held.Check() == nil {
			fmt.Printf("trusted %d %d\n", held.Generation(), looked.UnixNano())
		}
		time.Sleep(2 * time.Millisecond)
	}
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if held.Check() == nil {
			fmt.Println("trusted again")
		}
	}
	fmt.Println("lost")
	os.Exit(0) // as it is: what it holds is not given back
}

// trusted parses what the child printed: its generation, and when it last looked and trusted its lease.
func trusted(t *testing.T, out string) (count int, generation uint64, last time.Time) {
	t.Helper()
	for line := range strings.Lines(out) {
		var ns int64
		if n, _ := fmt.Sscanf(line, "trusted %d %d\n", &generation, &ns); n == 2 {
			count, last = count+1, time.Unix(0, ns)
		}
	}
	return count, generation, last
}

func TestFrozenHolderDoesNotTrustItself(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	file := filepath.Join(t.TempDir(), "out")
	holder, err := child.Start(child.Spec{
		Name: "holder", Path: os.Args[0], Args: []string{"-test.run=^TestHolderProcess$"}, Env: []string{holderAddr + "=" + server.Addr()}, Output: file,
	})
	require.NoError(t, err)
	t.Cleanup(holder.Kill)
	printed := func() string {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(b)
	}
	eventually(t, "the child holds the lease", func() bool { n, _, _ := trusted(t, printed()); return n > 50 })

	require.NoError(t, holder.Freeze())
	before := printed()
	s, _ := open(t, server.Addr(), Options{})
	second, err := lease.Acquire(within(t, patience), s, leaseKey, "second", leaseOptions(time.Minute)) // whatever else the machine does
	acquired := time.Now()
	require.NoError(t, err)
	_, generation, last := trusted(t, before)
	require.Greater(t, second.Generation(), generation)
	require.NoError(t, second.Check())

	require.NoError(t, holder.Thaw())
	eventually(t, "the child noticed", func() bool { return !holder.Running() })
	require.Contains(t, printed(), "\nlost\n")
	require.NotContains(t, printed(), "again")
	after, _, lastAfter := trusted(t, strings.TrimPrefix(printed(), before))
	require.LessOrEqual(t, after, 1, "at most the line in progress is printed after the thaw")
	require.True(t, last.Before(acquired) && lastAfter.Before(acquired), "nothing is trusted that was looked at after the second one acquired")
	require.NoError(t, second.Check(), "the first does not disturb the second")
	require.NoError(t, second.Release(within(t, patience)))
}

func TestLeaseAcrossServerRestart(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	s, _ := open(t, server.Addr(), Options{})
	other, _ := open(t, server.Addr(), Options{})
	const ttl = 24 * time.Second // a restart on a slow machine may take ten
	held, err := lease.Acquire(within(t, patience), s, leaseKey, "first", leaseOptions(ttl))
	require.NoError(t, err)

	require.NoError(t, server.Restart(t.Context()))
	time.Sleep(ttl) // beyond what it trusted before the restart
	require.NoError(t, held.Check(), "a restart shorter than the time to live costs nothing")
	_, err = lease.TryAcquire(within(t, patience), other, leaseKey, "second", leaseOptions(ttl))
	require.ErrorIs(t, err, msha.ErrBusy)

	server.Kill()
	time.Sleep(ttl)
	require.ErrorIs(t, held.Check(), lease.ErrLost, "not trusted for longer than its time to live without the server")
	select {
	case <-held.Lost():
	case <-time.After(patience):
		require.Fail(t, "it was not told")
	}
	require.NoError(t, server.Restart(t.Context()))
	second, err := lease.Acquire(within(t, patience), other, leaseKey, "second", leaseOptions(ttl))
	require.NoError(t, err)
	require.Greater(t, second.Generation(), held.Generation())
	require.ErrorIs(t, held.Check(), lease.ErrLost)
	require.NoError(t, second.Release(within(t, patience)))
	require.NoError(t, s.Safe())
}
