package manager_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

// revisions of all documents a switch touches.
func (w *world) revisions() map[string]msha.Revision {
	out := map[string]msha.Revision{}
	for _, key := range []string{msha.TableKey, msha.UnitsKey, msha.RosterKey, msha.SwitchKey} {
		doc, err := w.store.Get(w.Context(), key)
		if !errors.Is(err, msha.ErrNotFound) {
			require.NoError(w, err)
		}
		out[key] = doc.Revision
	}
	return out
}

// written counts what managers wrote into a unit's log.
func (w *world) written(unit string) (n int) {
	q, next := remoting.Queue{Topic: msha.ProgressTopic, Broker: "broker-" + unit}, int64(0)
	for {
		res, err := w.clusters[unit].Pull(w.Context(), remoting.PullRequest{Queue: q, Group: "MSHA_TEST", Offset: next, Max: 256})
		require.NoError(w, err)
		for _, m := range res.Messages {
			records, err := filter.DecodeLog(m.Body, m.QueueOffset)
			require.NoError(w, err)
			for _, r := range records {
				if strings.HasPrefix(r.Client, "manager@") || r.Kind == filter.Baseline && r.Set != "" {
					n++
				}
			}
		}
		if res.Status == remoting.PullNoNew {
			return n
		}
		next = res.NextOffset
	}
}

func TestDryRun(t *testing.T) {
	w := newWorld(t, nil)
	w.join("unit-1")
	w.join("unit-2")
	w.send("unit-2", "guangzhou", 30)
	w.send("unit-1", "guangzhou", 12) // reaches unit-2 as copies
	plain := &remoting.HeartbeatData{ClientID: "spring-app", Consumers: []remoting.ConsumerData{{
		GroupName: "reports", Type: "CONSUME_PASSIVELY", Model: "CLUSTERING", From: "CONSUME_FROM_LAST_OFFSET",
		Subscriptions: []remoting.SubscriptionData{{Topic: topic, SubString: "*", ExpressionType: "TAG"}},
	}}}
	require.NoError(t, w.clusters["unit-2"].Heartbeat(t.Context(), w.broker("unit-2"), plain))

	var f switchplan.Forecast
	left := func() int64 { // no handler of unit-2 ends, so all of it is left
		f = switchplan.Forecast{}
		require.Equal(t, http.StatusOK, w.call("GET", "/switch?values=guangzhou&dry-run=true", &f))
		require.Len(t, f.Moves, 1)
		if len(f.Moves[0].Groups) == 0 {
			return 0
		}
		g := f.Moves[0].Groups[0]
		return g.Pending + g.Retrying + g.Backlog
	}
	w.eventually("baselines and copies are there", func() bool { return left() == 42 && len(f.Lag) == 1 && f.Lag[0].Messages == 0 })
	before := w.revisions()
	require.EqualValues(t, 42, left())
	require.Equal(t, before, w.revisions())
	require.Zero(t, w.written("unit-1")+w.written("unit-2"), "records of a manager")
	require.True(t, f.Ready, f.String())
	require.Equal(t, 1, f.Moves[0].Groups[0].Agents)
	require.Len(t, f.Confirm, 1)
	require.True(t, f.Confirm[0].Connected)
	require.Equal(t, []switchplan.OtherGroup{{Unit: "unit-2", Group: "reports", Clients: []string{"spring-app"}}}, f.Others)
	require.Equal(t, []switchplan.Lag{{From: "unit-2", To: "unit-1"}}, f.Lag)

	// The same client in the managed group would stop the switch.
	plain.Consumers[0].GroupName = group
	require.NoError(t, w.clusters["unit-2"].Heartbeat(t.Context(), w.broker("unit-2"), plain))
	left()
	require.False(t, f.Ready)
	require.Equal(t, []switchplan.ClientForecast{{Client: "spring-app", Unit: "unit-2", Group: group}}, f.Unknown)
	require.NoError(t, w.clusters["unit-2"].Unregister(t.Context(), w.broker("unit-2"), "spring-app", group))

	var failure manager.Failure
	require.Equal(t, http.StatusBadRequest, w.call("POST", "/switch?values=guangzhou&dry-run=perhaps", &failure))
	require.Equal(t, http.StatusNotFound, w.call("POST", "/switch?values=atlantis&dry-run=true", &failure))
	require.Equal(t, before, w.revisions())

	close(w.release)
	w.eventually("all processed", func() bool { return w.handled.Load() == 42 })
	w.eventually("and recorded", func() bool { return left() == 0 })
}

func TestGuards(t *testing.T) {
	w := newWorld(t, &manager.Options{Guards: switchplan.Guards{MinInterval: time.Hour}})
	close(w.release)
	w.join("unit-2")
	before := w.revisions()
	var failure manager.Failure
	require.Equal(t, http.StatusConflict, w.call("GET", "/switch?values=guangzhou", &failure))
	require.Contains(t, failure.Error, "target-alive: nobody consumes there")
	require.Contains(t, failure.Hint, "override=target-alive")
	require.Equal(t, before, w.revisions())
	require.Equal(t, http.StatusBadRequest, w.call("GET", "/switch?values=guangzhou&override=luck", &failure))
	require.Contains(t, failure.Error, "keep-units, min-interval, target-alive, lag-limit")

	var answer manager.Answer
	require.Equal(t, http.StatusOK, w.call("GET", "/switch?values=guangzhou&override=target-alive&by=alice", &answer))
	require.Len(t, answer.Overrides, 1)
	require.Equal(t, "alice", answer.Overrides[0].By)
	require.Contains(t, answer.Overrides[0].What, "nobody consumes")
	require.Equal(t, switchplan.StateDone, answer.State)

	require.Equal(t, http.StatusConflict, w.call("GET", "/switch?values=guangzhou", &failure))
	require.Contains(t, failure.Error, "min-interval")
	var orders switchplan.Orders
	require.Equal(t, http.StatusOK, w.call("GET", "/orders", &orders))
	require.Len(t, orders.Orders, 1)
	require.Equal(t, []string{"override=target-alive"}, orders.Orders[0].Override)
}

// events reads /events until the connection ends.
func (w *world) events(query string) (<-chan switchplan.Event, func()) {
	req, err := http.NewRequestWithContext(w.Context(), "GET", w.server.URL+"/events"+query, nil)
	require.NoError(w, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w, err)
	require.Equal(w, "text/event-stream", resp.Header.Get("Content-Type"))
	out := make(chan switchplan.Event, 1000)
	go func() {
		defer close(out)
		kind := ""
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if s, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kind = s
			}
			if s, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e switchplan.Event
				if json.Unmarshal([]byte(s), &e) == nil && string(e.Kind) == kind {
					out <- e
				}
			}
		}
	}()
	return out, func() { resp.Body.Close() } //nolint:errcheck // read only
}

func TestApprovalAndEvents(t *testing.T) {
	w := newWorld(t, &manager.Options{Steps: []msha.Step{switchplan.Approval("operator", time.Minute)}, After: []string{switchplan.Check}})
	close(w.release)
	w.join("unit-1")
	w.join("unit-2")
	events, stop := w.events("")
	defer stop()
	left, leave := w.events("?task=x")
	leave()
	for range left {
	}
	for _, tc := range []struct {
		answer string
		status int
		owner  string
	}{{"refuse", http.StatusConflict, "unit-2"}, {"approve", http.StatusOK, "unit-1"}} {
		done := w.asks("values=guangzhou")
		counts := map[switchplan.EventKind]int{}
		for e := range events {
			counts[e.Kind]++
			if e.Kind == switchplan.EventApproval {
				var f manager.Failure
				require.Equal(t, http.StatusNotFound, w.call("POST", "/orders/"+e.Task+"/"+tc.answer+"?step=drain&by=alice", &f))
				require.Equal(t, http.StatusNotFound, w.call("POST", "/orders/x/"+tc.answer+"?step=operator&by=alice", &f))
				require.Equal(t, http.StatusBadRequest, w.call("POST", "/orders/x/"+tc.answer+"?stop=operator", &f))
				require.Equal(t, http.StatusOK, w.call("POST", "/orders/"+e.Task+"/"+tc.answer+"?step="+url.QueryEscape(e.Phase)+"&by=alice&note=ok", &struct{}{}))
			}
			if e.Kind == switchplan.EventDone {
				require.Equal(t, tc.status == http.StatusOK, e.Error == "", e.Error)
				break
			}
		}
		r := <-done
		require.Equal(t, tc.status, r.status, r.failure.Error)
		require.Equal(t, 1, counts[switchplan.EventBegun])
		require.Equal(t, 1, counts[switchplan.EventApproval])
		table, err := route.LoadFresh(t.Context(), w.store)
		require.NoError(t, err)
		set, _ := table.Lookup("guangzhou", "")
		require.Equal(t, tc.owner, set.Owner)
		want := []switchplan.Decision{{Step: "operator", Approved: tc.answer == "approve", By: "alice", Note: "ok"}}
		if tc.status == http.StatusOK {
			require.Equal(t, want, r.answer.Decisions)
			require.Equal(t, 8, counts[switchplan.EventPhaseEnded])
		} else {
			require.Contains(t, r.failure.Error, "refused by alice: ok")
			require.Equal(t, want, r.failure.Report.Decisions)
			require.Equal(t, switchplan.StateAborted, r.failure.Report.State)
		}
	}
	w.manager.CloseEvents()
	for range events {
	}
	resp, err := http.Get(w.server.URL + "/events")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
}

func TestWhoIsFoundOut(t *testing.T) {
	w := newWorld(t, &manager.Options{Who: func(r *http.Request) string { return "header " + r.UserAgent() }})
	close(w.release)
	w.join("unit-1")
	w.join("unit-2")
	var failure manager.Failure
	require.Equal(t, http.StatusBadRequest, w.call("GET", "/switch?values=guangzhou&by=alice", &failure))
	var answer manager.Answer
	require.Equal(t, http.StatusOK, w.call("GET", "/switch?values=guangzhou", &answer))
	require.Equal(t, "header Go-http-client/1.1", answer.By)
}

// TestPlanAsData: a plan made here, kept as JSON, and run.
func TestPlanAsData(t *testing.T) {
	ran := 0
	step := msha.Step{Name: "freeze", Do: func(ctx context.Context) error { ran++; return nil }}
	w := newWorld(t, &manager.Options{Steps: []msha.Step{step}, After: []string{""}})
	close(w.release)
	w.join("unit-1")
	w.join("unit-2")
	plan, err := w.manager.Plan(t.Context(), msha.SwitchRequest{From: "unit-2"})
	require.NoError(t, err)
	require.Len(t, plan.Steps, 7, "the step is only known")
	require.NoError(t, switchplan.InsertAfter(plan, switchplan.Drain, step))
	b, err := switchplan.EncodePlan(plan)
	require.NoError(t, err)
	var kept msha.Plan
	require.NoError(t, json.Unmarshal(b, &kept))
	report, err := w.manager.Run(t.Context(), &kept)
	require.NoError(t, err)
	require.Equal(t, 1, ran)
	require.Contains(t, report.String(), "done, @unit-2, guangzhou in ")
}
