//go:build unix

package lease

import (
	"bufio"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/farstore"
	"github.com/go-msha/msha/metastore/memory"
)

const (
	storeURL  = "LEASE_TEST_STORE"
	freezeTTL = 5 * time.Second
)

// holdIfChild makes the test binary a holder that says when it holds the lease and when Check refuses.
func holdIfChild() bool {
	url := os.Getenv(storeURL)
	if url == "" {
		return false
	}
	o := quietly()
	o.TTL = freezeTTL
	l, err := Acquire(context.Background(), farstore.Client{URL: url}, "k", "child", o)
	if err != nil {
		fmt.Println(err)
		return true
	}
	fmt.Println("held")
	for l.Check() == nil { // it is stopped somewhere between two looks
		time.Sleep(time.Millisecond)
	}
	fmt.Println("lost")
	return true
}

func TestAFrozenProcessFindsItsLeaseLost(t *testing.T) {
	s := memory.New()
	defer func() { require.NoError(t, s.Close()) }()
	server := httptest.NewServer(farstore.Handler(s))
	defer server.Close()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), storeURL+"="+server.URL)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "held", lines.Text())

	require.Eventually(t, func() bool {
		d, err := s.Get(t.Context(), "k")
		require.NoError(t, err)
		held, err := decode("k", d.Value)
		require.NoError(t, err)
		return held.Attempt > 2
	}, time.Minute, 10*time.Millisecond, "the child renews")

	require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
	o := quietly()
	o.TTL, o.Margin = time.Hour, time.Second // it keeps the lease, whatever else the machine does
	l, err := Acquire(t.Context(), s, "k", "parent", o)
	require.NoError(t, err)
	require.EqualValues(t, 2, l.Generation())
	require.NoError(t, child.Process.Signal(syscall.SIGCONT))
	require.True(t, lines.Scan())
	require.Equal(t, "lost", lines.Text())
	require.NoError(t, l.Check())
	require.NoError(t, l.Release(t.Context()))
}
