package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// Answer is the JSON answer of /switch.
type Answer struct {
	Task             string        `json:"task"`
	Moved            []string      `json:"moved"`
	TakenOver        int64         `json:"takenOver"`
	Pending          int64         `json:"pending"` // left when the answer was made; the new owner goes on
	PossiblyRepeated int64         `json:"possiblyRepeated"`
	Unknown          int64         `json:"unknown"`
	Phases           []PhaseAnswer `json:"phases"`
	PauseMS          float64       `json:"pauseMs"`
	DurationMS       float64       `json:"durationMs"`
}

// PhaseAnswer is one phase of an Answer.
type PhaseAnswer struct {
	Phase      string  `json:"phase"`
	DurationMS float64 `json:"durationMs"`
	Note       string  `json:"note,omitempty"`
}

// Failure is the JSON answer of a request that failed.
type Failure struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
	Task  string `json:"task,omitempty"` // if a switch was begun
}

func (m *Manager) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /switch", m.serveSwitch)
	mux.HandleFunc("POST /switch", m.serveSwitch)
	mux.HandleFunc("GET /routes", document(func(ctx context.Context) (any, error) {
		t, err := m.tables.Current(ctx)
		if err != nil {
			return nil, err
		}
		return map[string]any{"version": t.Version, "routers": t.Routers(), "rules": t.Rules, "sets": t.Sets}, nil
	}))
	mux.HandleFunc("GET /units", document(func(ctx context.Context) (any, error) { return m.registry.Units(ctx) }))
	mux.HandleFunc("GET /orders", document(func(ctx context.Context) (any, error) { return switchplan.ReadOrders(ctx, m.store) }))
	mux.HandleFunc("GET /healthz", m.serveHealth)
	mux.HandleFunc("GET /metrics", m.serveMetrics)
	return mux
}

// ServeHTTP implements http.Handler.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }

func (m *Manager) serveSwitch(w http.ResponseWriter, r *http.Request) {
	req, err := parseRequest(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, "", err)
		return
	}
	// The switch goes on if the client goes away: half-way is no place to stop.
	report, status, err := m.run(context.WithoutCancel(r.Context()), req)
	if err != nil {
		fail(w, status, report.Task, err)
		return
	}
	reply(w, http.StatusOK, answer(report))
}

// parseRequest refuses parameters it does not know: a misspelt one must not be ignored.
func parseRequest(q url.Values) (req msha.SwitchRequest, err error) {
	known := []string{"values", "from", "to", "create", "allow-unmanaged", "deadline"}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return req, msha.Errorf("switch.request", name, "known parameters: "+strings.Join(known, ", "), "%w: unknown parameter", msha.ErrInvalid)
		}
		if name != "values" && name != "allow-unmanaged" && len(values) > 1 {
			return req, msha.Errorf("switch.request", name, "give it once", "%w: repeated parameter", msha.ErrInvalid)
		}
	}
	req.From, req.To = q.Get("from"), q.Get("to")
	req.Values, req.AllowUnmanaged = split(q["values"]), split(q["allow-unmanaged"])
	if s := q.Get("create"); s != "" {
		if req.Create, err = strconv.ParseBool(s); err != nil {
			return req, msha.Errorf("switch.request", "create="+s, "use true or false", "%w: not a truth value", msha.ErrInvalid)
		}
	}
	if s := q.Get("deadline"); s != "" {
		if req.Deadline, err = time.ParseDuration(s); err != nil || req.Deadline <= 0 {
			return req, msha.Errorf("switch.request", "deadline="+s, "use a duration like 10s", "%w: not a positive duration", msha.ErrInvalid)
		}
	}
	return req, nil
}

// split takes lists apart; spaces around a name do not count.
func split(lists []string) (out []string) {
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				out = append(out, name)
			}
		}
	}
	return out
}

func answer(r *switchplan.Report) Answer {
	a := Answer{
		Task: r.Task, Moved: r.Moved, TakenOver: r.TakenOver, Pending: r.Pending, PossiblyRepeated: r.PossiblyRepeated, Unknown: r.Unknown,
		PauseMS: ms(r.Pause), DurationMS: ms(r.Duration),
	}
	for _, p := range r.Phases {
		a.Phases = append(a.Phases, PhaseAnswer{Phase: p.Phase, DurationMS: ms(p.Duration), Note: p.Note})
	}
	return a
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

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
	case errors.Is(err, msha.ErrBusy), errors.Is(err, msha.ErrConflict), errors.Is(err, msha.ErrUnmanaged):
		return http.StatusConflict
	case errors.Is(err, msha.ErrNotConfirmed), errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, msha.ErrUnsafe), errors.Is(err, msha.ErrClosed), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func fail(w http.ResponseWriter, status int, task string, err error) {
	f := Failure{Error: err.Error(), Task: task}
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
			status := runStatus(err)
			if errors.Is(err, msha.ErrNotFound) {
				status = http.StatusNotFound
			}
			fail(w, status, "", err)
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
