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
	freezeTTL = time.Second
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

	o := quietly()
	o.TTL = freezeTTL
	ctx, cancel := context.WithTimeout(t.Context(), 2*freezeTTL)
	defer cancel()
	_, err = Acquire(ctx, s, "k", "parent", o)
	require.Equal(t, context.DeadlineExceeded, err, "the child renews")

	require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
	l, err := Acquire(t.Context(), s, "k", "parent", o)
	require.NoError(t, err)
	require.EqualValues(t, 2, l.Generation())
	require.NoError(t, child.Process.Signal(syscall.SIGCONT))
	require.True(t, lines.Scan())
	require.Equal(t, "lost", lines.Text())
	require.NoError(t, l.Check())
	require.NoError(t, l.Release(t.Context()))
}
