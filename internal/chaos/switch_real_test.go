//go:build real

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

const deadline = 10 * time.Second // of a fence

// patience is how long a switch is asked for again. One by force is insisted on: planned ones that died with their manager hold it up until another
// manager has resumed them and given them up.
func (m Move) patience() time.Duration {
	if m.Forced {
		return time.Minute
	}
	return min(40*time.Second, *length/5)
}

const retry = 700 * time.Millisecond

// move asks for the switches of a move, one after the other.
func (w *world) move(m Move, first int) {
	for _, to := range m.To {
		w.noteSwitch(w.ask(m, to, first))
	}
}

// next is the unit behind the one that owns a value; if nobody can tell, the first one.
func (w *world) next(value string) string {
	ctx, cancel := context.WithTimeout(w.ctx, time.Second)
	defer cancel()
	t, err := route.Load(ctx, w.store)
	if err != nil {
		return w.names[0]
	}
	set, _ := t.Lookup(value, w.names[0])
	return w.names[(slices.Index(w.names, set.Owner)+1)%len(w.names)]
}

// ask asks for a switch in the way an operator does: at one manager after the other, again if it was in vain, until patience ends.
func (w *world) ask(m Move, to string, first int) (s Switch) {
	s.Forced = m.Forced
	unanswered := false
	for begun := time.Now(); ; s.Tries++ {
		if s.To = to; to == "" {
			s.To = w.next(m.Values[0])
		}
		s.Query = "from=" + m.From + "&to=" + s.To
		if m.From == "" {
			s.Query = "values=" + strings.Join(m.Values, ",") + "&to=" + s.To
		}
		if m.Forced {
			s.Query += "&forced=true"
		}
		s.Begun = time.Now()
		status, answer, err := w.request(w.managers[w.names[(first+s.Tries)%len(w.names)]] + "/switch?" + s.Query + "&deadline=" + deadline.String())
		s.Ended = time.Now()
		if err != nil {
			s.Note = err.Error()
		}
		switch {
		case status == http.StatusOK:
			s.Outcome, s.Values, s.Note = Done, answer.Moved, ""
			return s
		case status == http.StatusBadRequest && !strings.Contains(s.Note, "has not rejoined"):
			s.Outcome = Nothing
			if unanswered {
				s.Outcome = Unanswered
			}
			return s
		case status == 0:
			unanswered, s.Outcome = true, Unanswered
		default:
			s.Outcome = Aborted
		}
		if time.Since(begun) > m.patience() || w.ctx.Err() != nil {
			return s
		}
		pause(w.ctx, retry)
	}
}

// request has the status 0 if there was no answer.
func (w *world) request(target string) (status int, answer manager.Answer, err error) {
	ctx, cancel := context.WithTimeout(w.ctx, 2*(deadline+*gate)+*freeze+time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, answer, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return 0, answer, err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, answer, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.StatusCode, answer, json.Unmarshal(body, &answer)
	}
	var failure manager.Failure
	if err := json.Unmarshal(body, &failure); err != nil {
		return resp.StatusCode, answer, fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	return resp.StatusCode, answer, fmt.Errorf("status %d: %s", resp.StatusCode, failure.Error)
}

// endless lists switches that have not ended, and routes that are still fenced.
func (w *world) endless() (all []string) {
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	orders, err := switchplan.ReadOrders(ctx, w.store)
	if err != nil {
		return []string{err.Error()}
	}
	for _, o := range orders.Orders {
		if o.Unfinished() {
			all = append(all, fmt.Sprintf("switch %s of %+v is in phase %s", o.ID, o.Plan.Request, o.Phase))
		}
	}
	t, err := route.Load(ctx, w.store)
	if err != nil {
		return append(all, err.Error())
	}
	for _, unit := range w.names {
		if t.Away(unit) {
			all = append(all, unit+" has not rejoined")
		}
	}
	for _, id := range sorted(t.Sets) {
		if t.Sets[id].State == msha.SetFenced {
			all = append(all, "routes of "+id+" are fenced by switch "+t.Sets[id].Switch)
		}
	}
	return all
}
