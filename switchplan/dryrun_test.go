package switchplan_test

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

func TestDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		e := (&process{world: w}).executor(t)
		w.pending, w.lag = 100, map[string]int64{"unit-2>unit-1": 3}
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Check, switchplan.Approval("approve", 0))
		f, err := e.DryRun(t.Context(), plan)
		if err != nil || !f.Ready || len(f.Guards)+len(f.Unknown)+len(f.Others)+len(f.Problems) != 0 {
			t.Fatalf("%v, %+v", err, f)
		}
		group := switchplan.GroupForecast{Outlook: switchplan.Outlook{Set: plan.Moves[0].NewSet, Group: "channel", Pending: 100, Retrying: 5, Backlog: 7}, Agents: 1}
		move := switchplan.MoveForecast{Set: plan.Moves[0].NewSet, Values: []string{"guangzhou"}, From: "unit-2", To: "unit-1", Groups: []switchplan.GroupForecast{group}}
		if !reflect.DeepEqual(f.Moves, []switchplan.MoveForecast{move}) || !reflect.DeepEqual(f.Lag, []switchplan.Lag{{From: "unit-2", To: "unit-1", Messages: 3}}) {
			t.Fatalf("%+v", f)
		}
		if len(f.Confirm) != 2 || !f.Confirm[0].Connected || f.Confirm[0].Client != "c1" || strings.Join(f.Steps[:3], ",") != "check,approve,fence" {
			t.Fatalf("%+v", f)
		}

		// Everything that would stop it or slow it down, at once.
		w.clients["unit-2/channel"] = []string{"c1", "plain"}
		w.clients["unit-2/reports"] = []string{"spring-app"}
		w.clients["unit-1/channel"] = nil
		before, version, acks := maps.Clone(w.docs), w.table.Version, len(w.acks["unit-2"])
		f, err = e.DryRun(t.Context(), plan)
		if err != nil || f.Ready {
			t.Fatalf("%v, %+v", err, f)
		}
		if !reflect.DeepEqual(f.Unknown, []switchplan.ClientForecast{{Client: "plain", Unit: "unit-2", Group: "channel"}}) ||
			!reflect.DeepEqual(f.Others, []switchplan.OtherGroup{{Unit: "unit-2", Group: "reports", Clients: []string{"spring-app"}}}) {
			t.Fatalf("%+v", f)
		}
		if f.Confirm[1].Client != "c2" || f.Confirm[1].Connected || f.Confirm[1].Wait != "30s" || len(f.Guards) != 1 || f.Guards[0].Guard != switchplan.GuardTarget {
			t.Fatalf("%+v", f)
		}
		for _, says := range []string{"ready false", "100 pending", "c2 in unit-2, not connected, waits 30s", "unknown client: plain", "guard target-alive"} {
			if !strings.Contains(f.String(), says) {
				t.Errorf("lacks %q:\n%s", says, f)
			}
		}
		if b, err := json.Marshal(f); err != nil || !strings.Contains(string(b), `"pending":100`) {
			t.Fatalf("%v: %s", err, b)
		}
		if !reflect.DeepEqual(w.docs, before) || w.table.Version != version || len(w.acks["unit-2"]) != acks || w.commits != 0 || len(w.handed) != 0 || len(w.roster.Members) != 3 {
			t.Fatal("a dry run changed something")
		}

		// What the request passes by.
		plan.Request.AllowUnmanaged, plan.Request.Override = []string{"channel"}, []string{switchplan.GuardTarget}
		w.clients["unit-2/channel"] = []string{"c1", "c2", "plain"}
		f, err = e.DryRun(t.Context(), plan)
		if err != nil || !f.Ready || len(f.Allowed) != 1 || !f.Guards[0].Overridden {
			t.Fatalf("%v, %+v", err, f)
		}
		w.blind = msha.ErrMissingFacts
		f, err = e.DryRun(t.Context(), plan)
		if err != nil || f.Ready || len(f.Problems) != 1 || f.Lag[0].Messages != msha.Unknown {
			t.Fatalf("%v, %+v", err, f)
		}
	})
}

func TestDryRunRefusesWhatRunRefuses(t *testing.T) {
	w := newWorld()
	p := &process{world: w}
	e := p.executor(t)
	for what, tc := range map[string]struct {
		edit func(*msha.Plan)
		err  error
	}{
		"stale plan":        {func(plan *msha.Plan) { plan.Moves[0].Term = 2 }, msha.ErrConflict},
		"unknown target":    {func(plan *msha.Plan) { plan.Moves[0].To = "unit-9" }, msha.ErrInvalid},
		"step without code": {func(plan *msha.Plan) { plan.Steps = append(plan.Steps, msha.Step{Name: "thaw"}) }, msha.ErrNotFound},
		"no deadline":       {func(plan *msha.Plan) { plan.Deadline = 0 }, msha.ErrInvalid},
	} {
		plan := w.plan(t, guangzhou)
		tc.edit(plan)
		_, dry := e.DryRun(t.Context(), plan)
		if _, real := e.Run(t.Context(), plan); !errors.Is(dry, tc.err) || !errors.Is(real, tc.err) {
			t.Errorf("%s: dry run %v, run %v", what, dry, real)
		}
	}
	p.turnsUnsafe()
	if _, err := e.DryRun(t.Context(), w.plan(t, guangzhou)); !errors.Is(err, msha.ErrUnsafe) {
		t.Error(err)
	}
}
