package manager

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

func (m *Manager) serveSwitch(w http.ResponseWriter, r *http.Request) {
	req, dryRun, err := parseRequest(r.URL.Query())
	m.answer(w, r, req, dryRun, err)
}

// answer runs a request, or makes a dry run of it.
func (m *Manager) answer(w http.ResponseWriter, r *http.Request, req msha.SwitchRequest, dryRun bool, err error) {
	if err == nil {
		req.By, err = m.who(r)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "", err)
		return
	}
	if dryRun {
		forecast, status, err := m.dryRun(r.Context(), req)
		if err != nil {
			fail(w, status, "", err)
			return
		}
		reply(w, http.StatusOK, forecast)
		return
	}
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
	reply(w, http.StatusOK, report.Answer())
}

// who is behind a request: what Options.Who says, the account of its basic authentication, what it says itself, or where it comes from.
func (m *Manager) who(r *http.Request) (string, error) {
	by := r.URL.Query().Get("by")
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

// parseRequest refuses parameters it does not know: a misspelt one must not be ignored.
func parseRequest(q url.Values) (req msha.SwitchRequest, dryRun bool, err error) {
	if err := onlyParameters(q, []string{"values", "allow-unmanaged", "override"}, []string{"from", "to", "create", "forced", "deadline", "dry-run", "by"}); err != nil {
		return req, false, err
	}
	req.From, req.To = q.Get("from"), q.Get("to")
	req.Values, req.AllowUnmanaged, req.Override = split(q["values"]), split(q["allow-unmanaged"]), split(q["override"])
	if req.Create, err = truth(q, "create"); err != nil {
		return req, false, err
	}
	if req.Forced, err = truth(q, "forced"); err != nil {
		return req, false, err
	}
	if dryRun, err = truth(q, "dry-run"); err != nil {
		return req, false, err
	}
	if s := q.Get("deadline"); s != "" {
		if req.Deadline, err = time.ParseDuration(s); err != nil || req.Deadline <= 0 {
			return req, false, msha.Errorf("switch.request", "deadline="+s, "use a duration like 10s", "%w: not a positive duration", msha.ErrInvalid)
		}
	}
	return req, dryRun, nil
}

// onlyParameters refuses others, and repeated ones that are no lists.
func onlyParameters(q url.Values, lists, single []string) error {
	for name, values := range q {
		switch {
		case slices.Contains(lists, name):
		case !slices.Contains(single, name):
			return msha.Errorf("switch.request", name, "known parameters: "+strings.Join(slices.Concat(lists, single), ", "), "%w: unknown parameter", msha.ErrInvalid)
		case len(values) > 1:
			return msha.Errorf("switch.request", name, "give it once", "%w: repeated parameter", msha.ErrInvalid)
		}
	}
	return nil
}

func truth(q url.Values, name string) (bool, error) {
	s := q.Get(name)
	if s == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(s)
	if err != nil {
		return false, msha.Errorf("switch.request", name+"="+s, "use true or false", "%w: not a truth value", msha.ErrInvalid)
	}
	return value, nil
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

// serveDecision answers an approval: POST /orders/{id}/approve?step=…
func (m *Manager) serveDecision(decide func(ctx context.Context, order, step, by, note string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		err := onlyParameters(q, nil, []string{"step", "by", "note"})
		by := ""
		if err == nil {
			by, err = m.who(r)
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
