package manager

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/go-msha/msha"
)

func (m *Manager) serveSwitch(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // comes with GET; who looks whether there is an answer moves nothing
		w.Header().Set("Allow", "GET, POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	var req msha.SwitchRequest
	q, err := switchParameters.of(r)
	if err == nil {
		req, err = parseRequest(q)
	}
	m.answer(w, r, q, req, err, func(answer any) any { return answer })
}

// answer runs a request, or makes a dry run of it; with may add something to what comes of it, an Answer or a switchplan.Forecast.
func (m *Manager) answer(w http.ResponseWriter, r *http.Request, q url.Values, req msha.SwitchRequest, err error, with func(any) any) {
	if err == nil {
		req.By, err = m.who(r, q)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "", err)
		return
	}
	if isTrue(q, dryRunFlag) {
		forecast, status, err := m.dryRun(r.Context(), req)
		if err != nil {
			fail(w, status, "", err)
			return
		}
		reply(w, http.StatusOK, with(forecast))
		return
	}
	m.prepare(r.Context(), req)
	// The switch goes on if the client goes away: half-way is no place to stop.
	report, status, err := m.run(context.WithoutCancel(r.Context()), req)
	if err != nil {
		f := Failure{Task: report.Task}
		if report.State != "" {
			answer := report.Answer()
			f.Report = &answer
		}
		failWith(w, status, f, err)
		return
	}
	reply(w, http.StatusOK, with(report.Answer()))
}

// who is behind a request: what Options.Who says, the account of its basic authentication, what it says itself, or where it comes from.
func (m *Manager) who(r *http.Request, q url.Values) (string, error) {
	by := q.Get("by")
	if m.opts.Who != nil {
		if by != "" {
			return "", msha.Errorf("switch.request", "by="+by, "leave it out", "%w: this manager finds out by itself who asks", msha.ErrInvalid)
		}
		return m.opts.Who(r), nil
	}
	if account, _, ok := r.BasicAuth(); ok && account != "" {
		return account, nil
	}
	if by != "" {
		return by, nil
	}
	return r.RemoteAddr, nil
}

func parseRequest(q url.Values) (req msha.SwitchRequest, err error) {
	req = msha.SwitchRequest{
		Values: q["values"], From: q.Get("from"), To: q.Get("to"), Create: isTrue(q, "create"), Forced: isTrue(q, "forced"),
		AllowUnmanaged: q["allow-unmanaged"], Override: q["override"],
	}
	if s := q.Get("deadline"); s != "" {
		if req.Deadline, err = time.ParseDuration(s); err != nil || req.Deadline <= 0 {
			return req, refused("deadline="+s, "use a duration like 10s", "not a positive duration")
		}
	}
	return req, nil
}

// isTrue is a flag.
func isTrue(q url.Values, name string) bool { return q.Get(name) == "true" }

// serveDecision answers an approval: POST /orders/{id}/approve?step=…
func (m *Manager) serveDecision(decide func(ctx context.Context, order, step, by, note string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := decisionParameters.of(r)
		by := ""
		if err == nil {
			by, err = m.who(r, q)
		}
		if err == nil {
			ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
			defer cancel()
			err = decide(ctx, r.PathValue("id"), q.Get("step"), by, q.Get("note"))
		}
		if err != nil {
			fail(w, planStatus(err), r.PathValue("id"), err)
			return
		}
		reply(w, http.StatusOK, map[string]string{"task": r.PathValue("id"), "step": q.Get("step"), "by": by})
	}
}
