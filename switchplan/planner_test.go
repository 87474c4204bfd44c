package switchplan_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

func table(edit ...func(*msha.Table)) *msha.Table {
	t := &msha.Table{
		Version: 7,
		Rules: []msha.Rule{
			{Kind: msha.RuleExact, Value: "beijing", Set: "a"},
			{Kind: msha.RuleExact, Value: "guangzhou", Set: "b"}, {Kind: msha.RuleExact, Value: "shenzhen", Set: "b"},
			{Kind: msha.RuleUnit, Value: "unit-2", Set: "c"},
			{Kind: msha.RuleRange, Low: "m", High: "n", Set: "d"}, {Kind: msha.RuleExact, Value: "moved", Set: "d"},
		},
		Sets: map[string]msha.RouteSet{
			"a": {ID: "a", Owner: "unit-1", Term: 1, State: msha.SetOpen}, "b": {ID: "b", Owner: "unit-2", Term: 3, State: msha.SetOpen},
			"c": {ID: "c", Owner: "unit-2", Term: 1, State: msha.SetOpen}, "d": {ID: "d", Owner: "unit-1", Term: 2, State: msha.SetOpen},
		},
	}
	for _, f := range edit {
		f(t)
	}
	return t.Index()
}

func units(names ...string) *msha.Units {
	u := &msha.Units{}
	for _, n := range names {
		name, quarantined := strings.CutPrefix(n, "!")
		info := msha.UnitInfo{Name: name, State: "live"}
		if quarantined {
			info.State = switchplan.Quarantined
		}
		u.Units = append(u.Units, info)
	}
	return u
}

func TestPlan(t *testing.T) {
	fenced := func(t *msha.Table) {
		s := t.Sets["b"]
		s.State, s.Switch = msha.SetFenced, "other"
		t.Sets["b"] = s
	}
	two, three := units("unit-1", "unit-2"), units("unit-1", "unit-2", "unit-3")
	b := msha.Move{Set: "b", NewSet: "b", Values: []string{"guangzhou", "shenzhen"}, Whole: true, From: "unit-2", To: "unit-1", Term: 3}
	part := msha.Move{Set: "b", NewSet: "s-id-1", Values: []string{"guangzhou"}, From: "unit-2", To: "unit-1", Term: 3}
	created := msha.Move{Set: "d", NewSet: "s-id-1", Values: []string{"mango"}, From: "unit-1", To: "unit-2", Term: 2}
	c := msha.Move{Set: "c", NewSet: "c", Values: []string{"@unit-2"}, Whole: true, From: "unit-2", To: "unit-1", Term: 1}
	for _, tc := range []struct {
		name  string
		req   msha.SwitchRequest
		units *msha.Units
		table *msha.Table
		want  []msha.Move
		err   error
		says  string
	}{
		{name: "toggle part", req: msha.SwitchRequest{Values: []string{"guangzhou", "guangzhou"}}, want: []msha.Move{part}},
		{name: "toggle whole set", req: msha.SwitchRequest{Values: []string{"shenzhen", "guangzhou"}}, want: []msha.Move{b}},
		{name: "everything", req: msha.SwitchRequest{From: "unit-2"}, want: []msha.Move{b, c}},
		{name: "one is there", req: msha.SwitchRequest{Values: []string{"guangzhou", "beijing"}, To: "unit-1"}, want: []msha.Move{part}},
		{name: "create", req: msha.SwitchRequest{Values: []string{"mango"}, Create: true}, want: []msha.Move{created}},
		{name: "needs create", req: msha.SwitchRequest{Values: []string{"mango"}}, err: msha.ErrInvalid, says: "create=true"},
		{name: "unknown unit", req: msha.SwitchRequest{Values: []string{"beijing"}, To: "unit-9"}, err: msha.ErrNotFound, says: "unit-1, unit-2"},
		{name: "unknown from", req: msha.SwitchRequest{From: "unit-9"}, err: msha.ErrNotFound, says: "unit-1, unit-2"},
		{name: "unknown value", req: msha.SwitchRequest{Values: []string{"paris"}}, err: msha.ErrNotFound, says: "beijing, guangzhou, moved, shenzhen"},
		{name: "nothing asked", err: msha.ErrInvalid, says: "either values or from"},
		{name: "both asked", req: msha.SwitchRequest{Values: []string{"beijing"}, From: "unit-1"}, err: msha.ErrInvalid, says: "either values or from"},
		{name: "empty value", req: msha.SwitchRequest{Values: []string{""}}, err: msha.ErrInvalid, says: "empty value"},
		{name: "mixed toggle", req: msha.SwitchRequest{Values: []string{"beijing", "guangzhou"}}, err: msha.ErrInvalid, says: "different units"},
		{name: "three units", req: msha.SwitchRequest{Values: []string{"beijing"}}, units: three, err: msha.ErrInvalid, says: "unit-1, unit-2, unit-3"},
		{name: "owns nothing", req: msha.SwitchRequest{From: "unit-3", To: "unit-1"}, units: three, err: msha.ErrInvalid, says: "owns nothing"},
		{name: "already there", req: msha.SwitchRequest{Values: []string{"beijing"}, To: "unit-1"}, err: msha.ErrInvalid, says: "already owns"},
		{name: "same unit", req: msha.SwitchRequest{From: "unit-1", To: "unit-1"}, err: msha.ErrInvalid, says: "same unit"},
		{name: "quarantined", req: msha.SwitchRequest{From: "unit-2", To: "unit-1"}, units: units("!unit-1", "unit-2"), err: msha.ErrInvalid, says: "quarantined"},
		{name: "fenced", req: msha.SwitchRequest{Values: []string{"guangzhou"}}, table: table(fenced), err: msha.ErrBusy, says: "switch other"},
		{name: "bad deadline", req: msha.SwitchRequest{From: "unit-2", Deadline: -1}, err: msha.ErrInvalid, says: "negative"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			view := msha.View{Table: table(), Units: two}
			if tc.units != nil {
				view.Units = tc.units
			}
			if tc.table != nil {
				view.Table = tc.table
			}
			p := &switchplan.Planner{NewID: func() string { return "id" }}
			plan, err := p.Plan(context.Background(), tc.req, view)
			if tc.err != nil {
				if !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.says) {
					t.Fatalf("got %v, want %v that says %q", err, tc.err, tc.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(plan.Moves, tc.want) {
				t.Fatalf("moves %+v, want %+v", plan.Moves, tc.want)
			}
			if plan.ID != "id" || plan.Deadline != 10*time.Second || len(plan.Steps) != 7 {
				t.Fatalf("plan %+v", plan)
			}
		})
	}
}

func TestInsert(t *testing.T) {
	plan, err := new(switchplan.Planner).Plan(context.Background(), msha.SwitchRequest{From: "unit-2"}, msha.View{Table: table(), Units: units("unit-1", "unit-2")})
	if err != nil {
		t.Fatal(err)
	}
	do := func(context.Context) error { return nil }
	if err := switchplan.InsertAfter(plan, switchplan.Drain, msha.Step{Name: "freeze", Do: do}); err != nil {
		t.Fatal(err)
	}
	if err := switchplan.InsertBefore(plan, switchplan.Commit, msha.Step{Name: "approve", Do: do}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range plan.Steps {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, ","); got != "check,fence,drain,freeze,confirm,hand over,approve,commit,take over" {
		t.Fatalf("steps %s", got)
	}
	for what, err := range map[string]error{
		"taken name":   switchplan.InsertAfter(plan, switchplan.Drain, msha.Step{Name: "freeze", Do: do}),
		"no action":    switchplan.InsertAfter(plan, switchplan.Drain, msha.Step{Name: "x"}),
		"before check": switchplan.InsertBefore(plan, switchplan.Check, msha.Step{Name: "x", Do: do}),
	} {
		if !errors.Is(err, msha.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := switchplan.InsertAfter(plan, "nap", msha.Step{Name: "x", Do: do}); !errors.Is(err, msha.ErrNotFound) || !strings.Contains(err.Error(), "take over") {
		t.Errorf("unknown phase: %v", err)
	}
}
