package switchplan_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

func replay(edit ...func(*msha.SwitchRequest)) msha.SwitchRequest {
	req := msha.SwitchRequest{Values: []string{"guangzhou"}, Replay: &msha.Replay{Group: "channel", Since: time.Date(2026, 1, 1, 9, 30, 0, 0, time.UTC)}}
	for _, f := range edit {
		f(&req)
	}
	return req
}

func TestPlanOfAReplay(t *testing.T) {
	view := msha.View{Table: table(), Units: units("unit-1", "unit-2")}
	p := &switchplan.Planner{NewID: func() string { return "id" }}
	plan, err := p.Plan(context.Background(), replay(), view)
	if err != nil {
		t.Fatal(err)
	}
	if want := (msha.Move{Set: "b", NewSet: "s-id-1", Values: []string{"guangzhou"}, From: "unit-2", To: "unit-2", Term: 3}); len(plan.Moves) != 1 || !slices.Equal(plan.Moves[0].Values, want.Values) ||
		plan.Moves[0].NewSet != want.NewSet || plan.Moves[0].From != want.From || plan.Moves[0].To != want.To || plan.Moves[0].Term != want.Term {
		t.Fatalf("moves %+v, want %+v", plan.Moves, want)
	}
	plan, err = p.Plan(context.Background(), replay(func(r *msha.SwitchRequest) { r.Values, r.From = nil, "unit-2" }), view)
	if err != nil || len(plan.Moves) != 2 || plan.Moves[0].To != "unit-2" || plan.Moves[1].To != "unit-2" {
		t.Fatalf("everything of a unit: %v %+v", err, plan)
	}
}

func TestReplaysThatAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name, says string
		req        msha.SwitchRequest
		err        error
	}{
		{"no group", "needs a group", replay(func(r *msha.SwitchRequest) { r.Replay.Group = "" }), msha.ErrInvalid},
		{"no beginning", "time it begins", replay(func(r *msha.SwitchRequest) { r.Replay.Since = time.Time{} }), msha.ErrInvalid},
		{"ends before", "ends before it begins", replay(func(r *msha.SwitchRequest) { r.Replay.Until = r.Replay.Since }), msha.ErrInvalid},
		{"a target", "moves nothing", replay(func(r *msha.SwitchRequest) { r.To = "unit-1" }), msha.ErrInvalid},
		{"forced", "moves nothing", replay(func(r *msha.SwitchRequest) { r.Forced = true }), msha.ErrInvalid},
		{"a unit that has not rejoined", "unit-1 lost the route", replay(func(r *msha.SwitchRequest) { r.Values = []string{"shenzhen"} }), msha.ErrBusy},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lost := table(func(t *msha.Table) {
				s := t.Sets["b"]
				s.Forced = []msha.ForcedTerm{{Unit: "unit-1", Set: "b", Term: 2}}
				t.Sets["b"] = s
			})
			view := msha.View{Table: table(), Units: units("unit-1", "unit-2")}
			if tc.err == msha.ErrBusy {
				view.Table = lost
			}
			_, err := new(switchplan.Planner).Plan(context.Background(), tc.req, view)
			if !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %v, want %v that says %q", err, tc.err, tc.says)
			}
		})
	}
}

// A replay fences, drains and commits like a switch; the owner stays, and the term does not. The least interval between moves is not asked.
func TestAReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		interval := func(o *switchplan.Options) { o.Guards.MinInterval = time.Hour }
		for term := uint64(4); term < 6; term++ {
			e := (&process{world: w}).executor(t, interval)
			forecast, err := e.DryRun(t.Context(), w.plan(t, replay()))
			if err != nil || forecast.Again != 42 || !forecast.Ready || !strings.Contains(forecast.String(), "at most 42 messages once more") {
				t.Fatalf("dry run: %v %+v", err, forecast)
			}
			report, err := e.Run(t.Context(), w.plan(t, replay()))
			if err != nil {
				t.Fatal(err)
			}
			s := w.set("guangzhou")
			if s.Owner != "unit-2" || s.Term != term || !strings.Contains(s.RemainingHash, "with channel since 09:30:00") || report.PossiblyRepeated != 42 {
				t.Fatalf("set %+v, report %+v", s, report)
			}
			if w.handed["unit-2/"+s.ID+"/"+s.RemainingHash] != "unit-2" || len(w.handed) != int(term-3) {
				t.Fatalf("handed over %v", w.handed)
			}
		}
	})
}

func TestAPlanThatReplaysAndMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		plan := w.plan(t, replay())
		plan.Moves[0].To = "unit-1"
		if _, err := (&process{world: w}).executor(t).Run(t.Context(), plan); !errors.Is(err, msha.ErrInvalid) || !strings.Contains(err.Error(), "in a replay the same") {
			t.Fatal(err)
		}
		plan = w.plan(t, guangzhou)
		plan.Moves[0].To = "unit-2"
		if _, err := (&process{world: w}).executor(t).Run(t.Context(), plan); !errors.Is(err, msha.ErrInvalid) {
			t.Fatal(err)
		}
	})
}
