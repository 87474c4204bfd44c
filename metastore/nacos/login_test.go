package nacos

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/nacostest"
)

// beside makes options for a server whose logins another HTTP server answers, and starts that.
func beside(t *testing.T, s *nacostest.Server, answer http.HandlerFunc) (addr string, o Options) {
	t.Helper()
	web := httptest.NewServer(answer)
	t.Cleanup(web.Close)
	_, port, err := net.SplitHostPort(s.GRPCAddr())
	require.NoError(t, err)
	o = quick()
	o.User, o.Password = "u", "secret"
	o.GRPCPort, err = strconv.Atoi(port)
	require.NoError(t, err)
	return web.Listener.Addr().String(), o
}

// TestALoginThatHangsHoldsNobodyUp: neither the others' contexts nor Close wait for the request that logs in.
func TestALoginThatHangsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	var hang atomic.Bool
	var waiting atomic.Int32
	addr, o := beside(t, startServer(t, nacostest.Options{}), func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // or the server does not notice that the client is gone
		if hang.Load() {
			waiting.Add(1)
			<-r.Context().Done()
			return
		}
		_, _ = fmt.Fprint(w, `{"accessToken":"t","tokenTtl":0}`)
	})
	o.RequestTimeout, o.DialTimeout = time.Hour, time.Hour
	a := open(t, addr, o)
	put(t, a, "k", "v", 0)
	_, err := a.Watch(t.Context(), "k")
	require.NoError(t, err)
	hang.Store(true)
	first := make(chan error, 1)
	go func() {
		_, err := a.Get(context.Background(), "k")
		first <- err
	}()
	eventually(t, "a login hangs", func() bool { return waiting.Load() > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = a.Get(ctx, "k")
	require.Equal(t, context.DeadlineExceeded, err)
	require.NoError(t, a.Close())
	require.ErrorIs(t, <-first, msha.ErrClosed)
	require.Less(t, time.Since(began), patience)
}

func TestAPasswordFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(other.Close)
	addr, o := beside(t, startServer(t, nacostest.Options{}), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	refused(t, addr, o, "HTTP status 307")
	require.Zero(t, asked.Load())
}

func TestALoginThatFailsIsNotAlwaysTheUsersFault(t *testing.T) {
	t.Parallel()
	addr, o := beside(t, startServer(t, nacostest.Options{}), func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "server is STARTING now", http.StatusServiceUnavailable)
	})
	refused(t, addr, o, "503", "STARTING", "check that Nacos runs")
}
