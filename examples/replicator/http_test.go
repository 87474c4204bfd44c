package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/replicate"
)

// startService runs a service of unit-1 inside the test.
func startService(t *testing.T, store msha.MetaStore) (s *service, url string) {
	t.Helper()
	silent := slog.New(slog.DiscardHandler)
	r, err := replicate.New("unit-1", store, &replicate.Options{Topics: []string{"SMS"}, Discover: 20 * time.Millisecond, Logger: silent})
	require.NoError(t, err)
	s = newService(config{unit: "unit-1", listen: "127.0.0.1:0", progress: 50 * time.Millisecond}, r, silent)
	require.NoError(t, s.listen())
	t.Cleanup(s.close)
	return s, "http://" + s.http.addr
}

func ask(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestEndpoints(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	store := memory.New()
	w := startWorld(t, store)
	w.produce(50)
	w.produce(3, "DELAY", "18")
	s, url := startService(t, store)

	status, body := ask(t, http.MethodGet, url+"/healthz")
	require.Equal(t, http.StatusOK, status, body)
	status, body = ask(t, http.MethodGet, url+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "does not take part in sharing")
	status, body = ask(t, http.MethodGet, url+"/lag")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "origin not found")

	hold := w.clusters["unit-2"].Inject(embedmq.Fault{Code: remoting.ReqGetMinOffset, Error: remoting.RespSystemError, Times: 1 << 20})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx, newScreen(io.Discard)) }()
	eventually(t, "it takes part, and cannot look at the target", func() bool {
		status, body = ask(t, http.MethodGet, url+"/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "2 of 2 queues do not know yet where to go on")
	})
	hold.Remove()
	eventually(t, "it is ready", func() bool {
		status, body = ask(t, http.MethodGet, url+"/readyz")
		return status == http.StatusOK
	})
	var ready readiness
	require.NoError(t, json.Unmarshal([]byte(body), &ready))
	require.Equal(t, readiness{Ready: true, Unit: "unit-1", Members: 1, Shares: 1, Queues: 2, Located: 2}, ready)
	require.NoError(t, s.r.Sync(t.Context(), "SMS"))

	for _, bad := range []string{"/pause", "/resume?topic=", "/pause?topic=MSHA_PROGRESS"} {
		status, _ = ask(t, http.MethodPost, url+bad)
		require.Equal(t, http.StatusBadRequest, status, bad)
	}
	status, _ = ask(t, http.MethodGet, url+"/pause?topic=SMS")
	require.Equal(t, http.StatusMethodNotAllowed, status)
	status, body = ask(t, http.MethodPost, url+"/pause?topic=SMS")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"SMS"`)
	w.produce(10)
	status, body = ask(t, http.MethodGet, url+"/lag")
	require.Equal(t, http.StatusOK, status, body)
	var lag lagAnswer
	require.NoError(t, json.Unmarshal([]byte(body), &lag))
	require.Len(t, lag.Queues, 2)
	for _, q := range lag.Queues {
		require.Equal(t, "unit-2", q.Target)
		require.EqualValues(t, 50, q.Copied)
		require.EqualValues(t, 10, q.Messages)
		require.Greater(t, *q.Bytes, int64(100))
		require.Less(t, *q.AgeSeconds, 600.0)
	}
	require.Len(t, lag.Pending, 1)
	require.EqualValues(t, 6, *lag.Pending[0].Delayed)
	require.Zero(t, *lag.Pending[0].Half)

	s.observer.askLag(t.Context())
	s.observer.askPending(t.Context())
	status, body = ask(t, http.MethodGet, url+"/metrics")
	require.Equal(t, http.StatusOK, status)
	for _, line := range []string{
		`msha_replicator_copied_messages_total{origin="unit-1"} 100`,
		`msha_replicator_ready{origin="unit-1"} 1`,
		`msha_replicator_paused{origin="unit-1",topic="SMS"} 1`,
		`msha_replicator_lag_messages{broker="broker-unit-1",origin="unit-1",queue="1",target="unit-2",topic="SMS"} 10`,
		`msha_replicator_lag_asked{origin="unit-1"} 1`,
		`msha_replicator_pending_delayed_messages{broker="broker-unit-1",origin="unit-1"} 6`,
		`msha_replicator_pending_half_messages{broker="broker-unit-1",origin="unit-1"} 0`,
		"# HELP msha_replicator_lag_bytes Estimated bytes",
		"go_goroutines",
	} {
		require.Contains(t, body, line)
	}
	status, _ = ask(t, http.MethodPost, url+"/resume?topic=SMS")
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, s.r.Sync(t.Context(), "SMS"))

	stop()
	require.NoError(t, <-ended)
	status, _ = ask(t, http.MethodGet, url+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status, "it has left")
	require.EqualValues(t, 120, w.copies())
}

// fake is a replicator that says what it is told.
type fake struct {
	stats   replicate.Stats
	lags    []msha.QueueLag
	pending []msha.PendingMessages
	err     error
}

func (f *fake) Run(context.Context) error                               { return nil }
func (f *fake) Pause(string)                                            {}
func (f *fake) Resume(string)                                           {}
func (f *fake) Stats() replicate.Stats                                  { return f.stats }
func (f *fake) Lag(context.Context) ([]msha.QueueLag, error)            { return f.lags, f.err }
func (f *fake) Pending(context.Context) ([]msha.PendingMessages, error) { return f.pending, f.err }

func TestMetricsOfTheUnknownAndOfStoppedQueues(t *testing.T) {
	q := msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "SMS", Queue: 3}
	f := &fake{
		stats:   replicate.Stats{Sharing: true, Queues: 1, Limited: 1500 * time.Millisecond, Raised: 2, Stopped: []replicate.StoppedQueue{{Queue: q, Target: "unit-2", Err: msha.ErrGap}}},
		lags:    []msha.QueueLag{{Queue: q, Target: "unit-2", Messages: 7, Bytes: msha.Unknown, Age: msha.Unknown}},
		pending: []msha.PendingMessages{{Unit: "unit-1", Broker: "b", Delayed: msha.Unknown, Half: 5, Err: msha.ErrDenied}},
	}
	o := newObserver(f, slog.New(slog.DiscardHandler))
	c := newCollector("unit-1", f, o)
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(c))
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Zero(t, testutil.CollectAndCount(c, "msha_replicator_lag_messages"), "nobody was asked")

	o.look(t.Context())
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP msha_replicator_lag_messages Messages of an origin queue that are not copied to the target yet; queues of this process.
# TYPE msha_replicator_lag_messages gauge
msha_replicator_lag_messages{broker="b",origin="unit-1",queue="3",target="unit-2",topic="SMS"} 7
# HELP msha_replicator_limited_seconds_total Time that sends waited for the rate limits, of all queues together.
# TYPE msha_replicator_limited_seconds_total counter
msha_replicator_limited_seconds_total{origin="unit-1"} 1.5
# HELP msha_replicator_pending_half_messages Transactional messages that were neither committed nor rolled back, and are not copied; absent where unknown. Every process of the unit reports the same.
# TYPE msha_replicator_pending_half_messages gauge
msha_replicator_pending_half_messages{broker="b",origin="unit-1"} 5
# HELP msha_replicator_pending_unknown 1 for each broker whose delayed or half messages could not be counted; the log says why.
# TYPE msha_replicator_pending_unknown gauge
msha_replicator_pending_unknown{broker="b",origin="unit-1"} 1
# HELP msha_replicator_queue_stopped 1 for each queue that is not copied any more until somebody looks at it; /readyz says why.
# TYPE msha_replicator_queue_stopped gauge
msha_replicator_queue_stopped{broker="b",origin="unit-1",queue="3",target="unit-2",topic="SMS"} 1
`), "msha_replicator_lag_messages", "msha_replicator_lag_bytes", "msha_replicator_lag_age_seconds", "msha_replicator_limited_seconds_total",
		"msha_replicator_pending_half_messages", "msha_replicator_pending_delayed_messages", "msha_replicator_pending_unknown", "msha_replicator_queue_stopped"))
	problems, err = testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)

	f.err = errors.New("no answer")
	o.askLag(t.Context())
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP msha_replicator_lag_asked 1 if all queues of this process answered when their lag was asked for last, otherwise 0.
# TYPE msha_replicator_lag_asked gauge
msha_replicator_lag_asked{origin="unit-1"} 0
`), "msha_replicator_lag_asked"))
}

func TestProgressLine(t *testing.T) {
	f := &fake{stats: replicate.Stats{Sharing: true, Copied: 5000, Bytes: 5_000_000, Shares: 2, Members: 3, Queues: 8, Located: 7, Paused: []string{"MAIL"}}}
	s := &service{c: config{unit: "unit-1"}, observer: newObserver(f, slog.New(slog.DiscardHandler))}
	p := s.progress(replicate.Stats{Copied: 1000, Bytes: 1_000_000}, f.stats, 2*time.Second)
	require.Equal(t, "unit-1: 2000 msg/s, 2.0 MB/s, lag ? (? B, oldest ?), held ? delayed + ? half, queues 7/8, shares 2, processes 3, paused MAIL", p.String())

	f.lags = []msha.QueueLag{{Messages: 10, Bytes: 900, Age: 3 * time.Second}, {Messages: 5, Bytes: 1600, Age: 90 * time.Second}}
	f.pending = []msha.PendingMessages{{Delayed: 3, Half: 1}, {Delayed: 4, Half: msha.Unknown}}
	f.stats.Stopped = []replicate.StoppedQueue{{}}
	s.observer.look(t.Context())
	p = s.progress(f.stats, f.stats, time.Second)
	require.Equal(t, "unit-1: 0 msg/s, 0 B/s, lag 15 (2.5 kB, oldest 1m30s), held 7 delayed + ? half, queues 7/8, shares 2, processes 3, 1 STOPPED, paused MAIL", p.String())
	require.Contains(t, p.attrs(), "half_at_origin")
	require.Contains(t, progress{unit: "u"}.String(), "not taking part")
}

func TestScreenKeepsTheProgressLineBelowTheLog(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out)
	require.False(t, s.terminal)
	_, err := s.Write([]byte("log 1\n"))
	require.NoError(t, err)
	s.clear()
	require.Equal(t, "log 1\n", out.String(), "what is no terminal gets no control characters")
	s.terminal = true
	s.width = func() int { return 5 }
	s.show("50 % of it")
	n, err := s.Write([]byte("log 2\n"))
	require.NoError(t, err)
	require.Equal(t, 6, n)
	s.clear()
	require.Equal(t, "log 1\n\r\x1b[K50 %\r\x1b[Klog 2\n50 %\r\x1b[K", out.String())
}
