package nacos

import (
	"context"
	"flag"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/nacostest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil { // most of the time they wait for a server or for it to be missed
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// ttl is how long the test server lists a member of a cut connection, if its clients are kept alive as keepAlive says.
const (
	ttl       = 2 * time.Second
	keepAlive = ttl * 4 / 5
)

// startServer starts one that drops no client of a slow machine, unless it is told to.
func startServer(t *testing.T, o nacostest.Options) *nacostest.Server {
	t.Helper()
	if o.KeepAlive == 0 {
		o.KeepAlive = time.Hour
	}
	s, err := nacostest.Start(&o)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

// quick are options for a server in the same process.
func quick() Options {
	return Options{KeepAlive: 500 * time.Millisecond, Poll: 5 * time.Second, RequestTimeout: 15 * time.Second, DialTimeout: 15 * time.Second, Logger: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, addr string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), addr, &o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

const patience = time.Minute

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patience, 5*time.Millisecond, what)
}

// await receives from a watch until the revision wanted, checking that none goes back.
func await(t *testing.T, ch <-chan msha.Document, last, want msha.Revision) msha.Document {
	t.Helper()
	end := time.After(patience)
	for {
		select {
		case d, ok := <-ch:
			require.True(t, ok, "the watch ended")
			require.GreaterOrEqual(t, d.Revision, last, "an older document after a newer one")
			last = d.Revision
			if d.Revision == want {
				return d
			}
		case <-end:
			require.Fail(t, "not delivered", "revision %d, last %d", want, last)
		}
	}
}

func put(t *testing.T, s *Store, key, value string, expect msha.Revision) msha.Revision {
	t.Helper()
	r, err := s.Put(context.WithoutCancel(t.Context()), key, []byte(value), expect)
	require.NoError(t, err)
	return r
}
