//go:build unix

package lease

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

// remote is a client of a memory store in another process: just enough for a lease. It has no watch and no linearizable reads.
type remote struct {
	msha.MetaStore
	url string
}

type exchange struct {
	Value    []byte
	Revision msha.Revision
	Err      string
}

var known = map[string]error{"conflict": msha.ErrConflict, "missing": msha.ErrNotFound}

func (r remote) ask(ctx context.Context, method string, q exchange) (a exchange, err error) {
	b, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url, bytes.NewReader(b))
	if err != nil {
		return a, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, errors.Join(ctx.Err(), err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return a, err
	}
	if a.Err != "" {
		return a, fmt.Errorf("remote: %w", known[a.Err])
	}
	return a, nil
}

func (r remote) Get(ctx context.Context, key string) (msha.Document, error) {
	a, err := r.ask(ctx, http.MethodGet, exchange{})
	return msha.Document{Key: key, Value: a.Value, Revision: a.Revision}, err
}

func (r remote) Put(ctx context.Context, _ string, value []byte, expect msha.Revision) (msha.Revision, error) {
	a, err := r.ask(ctx, http.MethodPut, exchange{Value: value, Revision: expect})
	return a.Revision, err
}

func (r remote) Watch(context.Context, string) (<-chan msha.Document, error) {
	return nil, errors.ErrUnsupported
}

func serve(t *testing.T, s *memory.Store) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q, a exchange
		err := json.NewDecoder(r.Body).Decode(&q)
		if r.Method == http.MethodPut && err == nil {
			a.Revision, err = s.Put(r.Context(), "k", q.Value, q.Revision)
		} else if err == nil {
			var d msha.Document
			d, err = s.Get(r.Context(), "k")
			a.Value, a.Revision = d.Value, d.Revision
		}
		for name, sentinel := range known {
			if errors.Is(err, sentinel) {
				a.Err = name
			}
		}
		_ = json.NewEncoder(w).Encode(a)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

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
	l, err := Acquire(context.Background(), remote{url: url}, "k", "child", o)
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
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), storeURL+"="+serve(t, s))
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
