package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// Answer is the JSON answer of /switch.
type Answer = switchplan.Answer

// PhaseAnswer is one phase of an Answer.
type PhaseAnswer = switchplan.PhaseAnswer

// Failure is the JSON answer of a request that failed.
type Failure struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
	Task  string `json:"task,omitempty"` // if a switch was begun
	// Report is what a switch had done until it failed.
	Report *Answer `json:"report,omitempty"`
}

func (m *Manager) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /switch", m.serveSwitch)
	mux.HandleFunc("POST /switch", m.serveSwitch)
	mux.HandleFunc("POST /replay", m.serveReplay)
	mux.HandleFunc("POST /rejoin", m.serveRejoin)
	mux.HandleFunc("POST /provision", m.serveProvision)
	mux.HandleFunc("POST /rules", m.serveRule(true))
	mux.HandleFunc("DELETE /rules", m.serveRule(false))
	mux.HandleFunc("POST /orders/{id}/approve", m.serveDecision(m.Approve))
	mux.HandleFunc("POST /orders/{id}/refuse", m.serveDecision(m.Refuse))
	mux.HandleFunc("POST /orders/{id}/abort", m.serveAbort)
	mux.HandleFunc("GET /events", m.serveEvents)
	mux.HandleFunc("GET /routes", document(func(ctx context.Context) (any, error) {
		t, err := m.tables.Current(ctx)
		if err != nil {
			return nil, err
		}
		return map[string]any{"version": t.Version, "routers": t.Routers(), "rules": namedRules(t.Rules), "sets": t.Sets}, nil
	}))
	mux.HandleFunc("GET /units", document(func(ctx context.Context) (any, error) { return m.registry.Units(ctx) }))
	mux.HandleFunc("GET /orders", document(func(ctx context.Context) (any, error) { return switchplan.ReadOrders(ctx, m.store) }))
	mux.HandleFunc("GET /healthz", m.serveHealth)
	mux.HandleFunc("GET /metrics", m.serveMetrics)
	return mux
}

// ServeHTTP implements http.Handler.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }

// planStatus is the status of a request that could not be planned.
func planStatus(err error) int {
	switch {
	case errors.Is(err, msha.ErrBusy):
		return http.StatusConflict
	case errors.Is(err, msha.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, msha.ErrInvalid):
		return http.StatusBadRequest
	}
	return runStatus(err)
}

// runStatus is the status of a switch that failed; what is missing then is not what the client named.
func runStatus(err error) int {
	switch {
	case errors.Is(err, msha.ErrBusy), errors.Is(err, msha.ErrConflict), errors.Is(err, msha.ErrUnmanaged), errors.Is(err, msha.ErrGuard),
		errors.Is(err, msha.ErrMissingFacts), errors.Is(err, msha.ErrGap), errors.Is(err, switchplan.ErrRefused), errors.Is(err, switchplan.ErrCalledOff):
		return http.StatusConflict
	case errors.Is(err, msha.ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, msha.ErrNotConfirmed), errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, msha.ErrUnsafe), errors.Is(err, msha.ErrClosed), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	case errors.Is(err, msha.ErrNotFound): // a broker, the code of a step: the installation lacks it
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

// refusedStatus is runStatus where nothing was begun: what is invalid then is the request.
func refusedStatus(err error) int {
	if status := runStatus(err); status != http.StatusInternalServerError || !errors.Is(err, msha.ErrInvalid) {
		return status
	}
	return http.StatusBadRequest
}

// lookupStatus is runStatus where what is not found is what the client named.
func lookupStatus(err error) int {
	if errors.Is(err, msha.ErrNotFound) {
		return http.StatusNotFound
	}
	return runStatus(err)
}

func fail(w http.ResponseWriter, status int, task string, err error) {
	failWith(w, status, Failure{Task: task}, err)
}

func failWith(w http.ResponseWriter, status int, f Failure, err error) {
	f.Error = err.Error()
	var op *msha.OpError
	if errors.As(err, &op) {
		f.Hint = op.Hint
	}
	reply(w, status, f)
}

func reply(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, body = http.StatusInternalServerError, fmt.Appendf(nil, `{"error": %q}`, err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) //nolint:errcheck // the client went away
}

// document serves what read returns.
func document(read func(context.Context) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		v, err := read(ctx)
		if err != nil {
			fail(w, lookupStatus(err), "", err)
			return
		}
		reply(w, http.StatusOK, v)
	}
}

// readTimeout bounds a request that only reads.
const readTimeout = 5 * time.Second

func (m *Manager) serveHealth(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	t, err := m.tables.Current(ctx)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, "", err)
		return
	}
	reply(w, http.StatusOK, map[string]any{"status": "ok", "manager": m.id, "version": t.Version})
}
