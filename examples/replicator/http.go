package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/replicate"
)

// server is the HTTP side of a service.
type server struct {
	addr string
	http *http.Server
}

// listen serves the endpoints, unless -listen is none.
func (s *service) listen() error {
	if s.c.listen == "none" {
		return nil
	}
	l, err := net.Listen("tcp", s.c.listen)
	if err != nil {
		return fmt.Errorf("listen: %w: choose another address with -listen, or none", err)
	}
	s.http = &server{addr: l.Addr().String(), http: &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}}
	go func() {
		if err := s.http.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("HTTP server ended, copying goes on", "error", err)
		}
	}()
	s.log.Info("listening", "url", "http://"+s.http.addr)
	return nil
}

func (s *service) close() {
	if s.http == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.http.Shutdown(ctx) != nil {
		s.http.http.Close() //nolint:errcheck // it ends
	}
}

func (s *service) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(s.c.unit, s.r, s.observer), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.HandleFunc("GET /lag", s.serveLag)
	mux.HandleFunc("POST /pause", s.servePause(s.r.Pause))
	mux.HandleFunc("POST /resume", s.servePause(s.r.Resume))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Timeout: askTimeout}))
	return mux
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(v) //nolint:errcheck // the client is gone
}

// readiness is the answer of /readyz.
type readiness struct {
	Ready   bool           `json:"ready"`
	Reasons []string       `json:"reasons,omitempty"` // why not
	Unit    string         `json:"unit"`
	Members int            `json:"processes"`
	Shares  int            `json:"shares"`
	Queues  int            `json:"queues"`
	Located int            `json:"located"`
	Paused  []string       `json:"paused,omitempty"`
	Stopped []stoppedQueue `json:"stopped,omitempty"` // does not keep it from being ready
}

type stoppedQueue struct {
	Queue  string `json:"queue"`
	Target string `json:"target"`
	Error  string `json:"error"`
}

func (s *service) serveReady(w http.ResponseWriter, _ *http.Request) {
	st := s.r.Stats()
	a := readiness{Ready: st.Ready(), Unit: s.c.unit, Members: st.Members, Shares: st.Shares, Queues: st.Queues, Located: st.Located, Paused: st.Paused}
	for _, q := range st.Stopped {
		a.Stopped = append(a.Stopped, stoppedQueue{q.Queue.String(), q.Target, q.Err.Error()})
	}
	status := http.StatusOK
	if !a.Ready {
		status, a.Reasons = http.StatusServiceUnavailable, whyNotReady(st)
	}
	reply(w, status, a)
}

func whyNotReady(st replicate.Stats) (reasons []string) {
	if !st.Sharing {
		return []string{"it does not take part in sharing: it is starting or stopping, or the metastore, or a name server of the unit, does not answer; the log says which"}
	}
	if st.Behind > 0 {
		reasons = append(reasons, fmt.Sprintf("%d of %d shares have no queues yet: the target's replica topics are being looked up or made", st.Behind, st.Shares))
	}
	if n := st.Queues - st.Located - len(st.Stopped); n > 0 {
		reasons = append(reasons, fmt.Sprintf("%d of %d queues do not know yet where to go on: the brokers are being asked", n, st.Queues))
	}
	return reasons
}

// lagAnswer is the answer of /lag. Numbers that are not known are left out.
type lagAnswer struct {
	Unit    string         `json:"unit"`
	Queues  []queueLag     `json:"queues"`  // of this process
	Pending []brokerHolds  `json:"pending"` // of the unit, the same from every process
	Error   string         `json:"error,omitempty"`
	Stopped []stoppedQueue `json:"stopped,omitempty"`
}

type queueLag struct {
	Queue      string   `json:"queue"`
	Target     string   `json:"target"`
	Copied     int64    `json:"copied"` // next origin offset
	Messages   int64    `json:"messages"`
	Bytes      *int64   `json:"bytes,omitempty"`
	AgeSeconds *float64 `json:"ageSeconds,omitempty"`
	Error      string   `json:"error,omitempty"`
}

type brokerHolds struct {
	Broker  string `json:"broker"`
	Delayed *int64 `json:"delayed,omitempty"`
	Half    *int64 `json:"half,omitempty"`
	Error   string `json:"error,omitempty"`
}

// serveLag asks the brokers now.
func (s *service) serveLag(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	lags, err := s.r.Lag(ctx)
	pending, pendingErr := s.r.Pending(ctx)
	a := lagAnswer{Unit: s.c.unit, Queues: []queueLag{}, Pending: []brokerHolds{}}
	for _, l := range lags {
		q := queueLag{Queue: l.Queue.String(), Target: l.Target, Copied: l.Copied, Messages: l.Messages, Bytes: known(l.Bytes)}
		if l.Age != msha.Unknown {
			seconds := l.Age.Seconds()
			q.AgeSeconds = &seconds
		}
		if l.Err != nil {
			q.Error = l.Err.Error()
		}
		a.Queues = append(a.Queues, q)
	}
	for _, p := range pending {
		b := brokerHolds{Broker: p.Broker, Delayed: known(p.Delayed), Half: known(p.Half)}
		if p.Err != nil {
			b.Error = p.Err.Error()
		}
		a.Pending = append(a.Pending, b)
	}
	status := http.StatusOK
	if err := errors.Join(err, pendingErr); err != nil {
		status, a.Error = http.StatusServiceUnavailable, err.Error()
	}
	reply(w, status, a)
}

func known(n int64) *int64 {
	if n == msha.Unknown {
		return nil
	}
	return &n
}

// servePause pauses or resumes the topic of the request in this process.
func (s *service) servePause(do func(topic string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		topic := r.FormValue("topic")
		switch {
		case topic == "":
			reply(w, http.StatusBadRequest, map[string]string{"error": "the parameter topic is missing, as in /pause?topic=SMS"})
			return
		case topic == msha.ProgressTopic:
			reply(w, http.StatusBadRequest, map[string]string{"error": topic + " is always copied: the other unit takes over by it"})
			return
		}
		do(topic)
		s.log.Info("asked over HTTP", "path", r.URL.Path, "topic", topic)
		reply(w, http.StatusOK, map[string]any{"paused": append([]string{}, s.r.Stats().Paused...), "scope": "this process only"})
	}
}
