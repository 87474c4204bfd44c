package nacos

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/nacostest"
)

// TestAProbeThatCouldNotBeCreatedAtOnceProvesNothing: the publish with a wrong md5 creates it then, which is no sign of a server that ignores it.
func TestAProbeThatCouldNotBeCreatedAtOnceProvesNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Faults: nacostest.Faults{FailedInserts: 1}})
	a := open(t, s.Addr(), quick())
	require.NoError(t, a.Safe())
	require.Equal(t, 1, s.HistoryRows("", defaultGroup, probeKey))
}

// TestAServerThatPretendsToStoreIsUnsafe: the embedded storage before Nacos 2.2.1 updates no row and calls that a success.
func TestAServerThatPretendsToStoreIsUnsafe(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Faults: nacostest.Faults{SilentCas: true}})
	a := open(t, s.Addr(), quick())
	require.ErrorIs(t, a.Safe(), msha.ErrUnsafe)
	put(t, a, "k", "two", put(t, a, "k", "one", 0))
	content, _ := s.Content("", defaultGroup, "k")
	require.Equal(t, encode(2, []byte("two"), true).raw, content)
}

func TestOpenWaitsForAServerThatStarts(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Faults: nacostest.Faults{Starting: true}})
	started := make(chan struct{})
	go func() {
		defer close(started)
		for s.Requests()["ServerCheckRequest"] < 3 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		s.Set(func(f *nacostest.Faults) { f.Starting = false })
	}()
	a := open(t, s.Addr(), quick())
	<-started
	put(t, a, "k", "v", 0)
}

// TestOpensTimeoutIsNotTheCallers: a bare context error would tell the caller that its own context has ended.
func TestOpensTimeoutIsNotTheCallers(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Faults: nacostest.Faults{BusyReads: true}})
	o := quick()
	o.DialTimeout = 500 * time.Millisecond
	refused(t, s.Addr(), o, "no answer within 500ms")
}

func TestADocumentThatIsBeingWrittenIsNotWaitedForForever(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	o := quick()
	o.RequestTimeout = 5 * time.Second
	a := open(t, s.Addr(), o)
	put(t, a, "k", "v", 0)
	s.Set(func(f *nacostest.Faults) { f.BusyReads = true })
	time.AfterFunc(200*time.Millisecond, func() { s.Set(func(f *nacostest.Faults) { f.BusyReads = false }) })
	_, err := a.Get(t.Context(), "k")
	require.NoError(t, err)
	s.Set(func(f *nacostest.Faults) { f.BusyReads = true })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = a.Get(ctx, "k")
	require.ErrorContains(t, err, "being modified")
}
