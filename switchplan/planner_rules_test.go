package switchplan_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

// ruled is a table in which unit-2 owns everything without a rule of unit-1.
func ruled(t *testing.T) *msha.Table {
	t.Helper()
	table, err := route.New([]string{"unit-1", "unit-2"}, map[string][]string{"unit-1": {"beijing"}, "unit-2": {"guangzhou"}})
	if err != nil {
		t.Fatal(err)
	}
	return withRules(t, table, "@default", "@slots:0-511", "@range:m..t")
}

// withRules adds rules; values that no rule caught go to unit-2.
func withRules(t *testing.T, table *msha.Table, names ...string) *msha.Table {
	t.Helper()
	for _, name := range names {
		r, err := msha.ParseRule(name)
		if err != nil {
			t.Fatal(err)
		}
		r.Set = "rest"
		owner := ""
		if slices.Equal(table.SetsFor(r), []string{""}) {
			owner = "unit-2"
		}
		if table, err = route.AddRule(table, r, owner); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

// switched runs the edits of a switch.
func switched(t *testing.T, table *msha.Table, id string, req msha.SwitchRequest) (*msha.Table, *msha.Plan) {
	t.Helper()
	plan := planned(t, table, id, req)
	table, err := route.Fence(table, plan)
	if err != nil {
		t.Fatal(err)
	}
	hashes := map[string]string{}
	for _, m := range plan.Moves {
		hashes[m.NewSet] = "h" + id
	}
	if table, err = route.Commit(table, plan, hashes); err != nil {
		t.Fatal(err)
	}
	return table, plan
}

func planned(t *testing.T, table *msha.Table, id string, req msha.SwitchRequest) *msha.Plan {
	t.Helper()
	p := &switchplan.Planner{NewID: func() string { return id }}
	plan, err := p.Plan(context.Background(), req, msha.View{Table: table, Units: units("unit-1", "unit-2")})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestRulesAreMoved(t *testing.T) {
	rest := func(values ...string) msha.Move {
		return msha.Move{Set: "rest", NewSet: "s-id-1", Values: values, From: "unit-2", To: "unit-1", Term: 1}
	}
	whole := rest("@default", "@range:m..t", "@slots:0-511")
	whole.NewSet, whole.Whole = "rest", true
	home := msha.Move{Set: "unit-2", NewSet: "unit-2", Values: []string{"@unit-2", "guangzhou"}, Whole: true, From: "unit-2", To: "unit-1", Term: 1}
	unit := msha.Move{Set: "unit-2", NewSet: "s-id-1", Values: []string{"@unit-2"}, From: "unit-2", To: "unit-1", Term: 1}
	for _, tc := range []struct {
		name   string
		values []string
		from   string
		create bool
		want   []msha.Move
		err    error
		says   string
	}{
		{name: "part of slots", values: []string{"@slots:0-255"}, want: []msha.Move{rest("@slots:0-255")}},
		{name: "parts that meet", values: []string{"@slots:0-255", "@slots:200-300"}, want: []msha.Move{rest("@slots:0-300")}},
		{name: "range and default", values: []string{"@default", "@range:n..p"}, want: []msha.Move{rest("@default", "@range:n..p")}},
		{name: "all of a set", values: []string{"@slots:0-255", "@default", "@range:m..t", "@slots:256-511"}, want: []msha.Move{whole}},
		{name: "without value", values: []string{"@unit-2"}, want: []msha.Move{unit}},
		{name: "two sets", values: []string{"@unit-2", "guangzhou", "@exact:guangzhou", "@slots:0-511", "@range:m..t", "@default"}, want: []msha.Move{whole, home}},
		{name: "everything", from: "unit-2", want: []msha.Move{whole, home}},
		{name: "a value of a rule", values: []string{"nanjing"}, create: true, want: []msha.Move{rest("nanjing")}},
		{name: "more slots than a rule has", values: []string{"@slots:500-600"}, create: true, want: []msha.Move{rest("@slots:500-511", "@slots:512-600")}},
		{name: "the same without create", values: []string{"@slots:500-600"}, err: msha.ErrInvalid, says: "@slots:512-600: invalid: only a range, slot or default rule covers"},
		{name: "a range of slots and default", values: []string{"@range:a..b"}, create: true, want: []msha.Move{rest("@range:a..b")}},
		{name: "no such rule", values: []string{"@unit-7"}, err: msha.ErrNotFound, says: "known values: @default, @range:m..t, @slots:0-511, @unit-1, @unit-2, beijing, guangzhou"},
		{name: "no rule at all", values: []string{"@slot:1-2"}, err: msha.ErrInvalid, says: "@slots:first-last"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &switchplan.Planner{NewID: func() string { return "id" }}
			req := msha.SwitchRequest{Values: tc.values, From: tc.from, Create: tc.create}
			plan, err := p.Plan(context.Background(), req, msha.View{Table: ruled(t), Units: units("unit-1", "unit-2")})
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
			if _, err := route.Fence(ruled(t), plan); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestARuleOfSeveralSets(t *testing.T) {
	table, _ := switched(t, ruled(t), "one", msha.SwitchRequest{Values: []string{"@slots:0-99"}})
	p := new(switchplan.Planner)
	req := msha.SwitchRequest{Values: []string{"@range:a..b"}, Create: true, To: "unit-1"}
	if _, err := p.Plan(context.Background(), req, msha.View{Table: table, Units: units("unit-1", "unit-2")}); !errors.Is(err, msha.ErrInvalid) || !strings.Contains(err.Error(), "more than one route set: rest, s-one-1") {
		t.Fatal(err)
	}
	// What is there already stays; the rest follows.
	plan := planned(t, table, "two", msha.SwitchRequest{Values: []string{"@slots:0-511"}, To: "unit-1"})
	if len(plan.Moves) != 1 || !slices.Equal(plan.Moves[0].Values, []string{"@slots:100-511"}) {
		t.Fatalf("moves %+v", plan.Moves)
	}
	plan = planned(t, table, "two", msha.SwitchRequest{Values: []string{"@slots:0-511"}, To: "unit-2"})
	if len(plan.Moves) != 1 || !plan.Moves[0].Whole || plan.Moves[0].Set != "s-one-1" {
		t.Fatalf("moves %+v", plan.Moves)
	}
}

func TestPlansThatNameNoRules(t *testing.T) {
	plan := planned(t, ruled(t), "id", msha.SwitchRequest{Values: []string{"@slots:0-99"}})
	if _, err := switchplan.EncodePlan(plan); err != nil {
		t.Fatal(err)
	}
	plan.Moves[0].Values = []string{"@slots:0-9999"}
	if _, err := switchplan.EncodePlan(plan); !errors.Is(err, msha.ErrInvalid) || !strings.Contains(err.Error(), "first and the last") {
		t.Fatal(err)
	}
}

// TestRulesOfTwoPlans: which plans may run at once, and which follow each other too soon.
func TestRulesOfTwoPlans(t *testing.T) {
	move := func(create bool, set, newSet string, values ...string) *msha.Plan {
		return &msha.Plan{Request: msha.SwitchRequest{Create: create}, Moves: []msha.Move{{Set: set, NewSet: newSet, Whole: set == newSet, Values: values}}}
	}
	for _, tc := range []struct {
		a, b           *msha.Plan
		overlap, again bool
	}{
		{a: move(false, "s", "p", "@slots:0-99"), b: move(false, "s", "q", "@slots:99-200"), overlap: true, again: true},
		{a: move(false, "s", "p", "@slots:0-99"), b: move(false, "s", "q", "@slots:100-200")},
		{a: move(false, "s", "p", "@range:a..m"), b: move(false, "s", "q", "@range:b..c"), overlap: true, again: true},
		{a: move(false, "s", "p", "@default"), b: move(false, "s", "q", "beijing")},
		{a: move(false, "s", "p", "@default"), b: move(true, "s", "q", "beijing"), overlap: true},
		{a: move(true, "s", "p", "beijing"), b: move(false, "s", "q", "@slots:0-9"), overlap: true},
		{a: move(true, "s", "p", "beijing"), b: move(true, "s", "q", "shenzhen")},
		{a: move(true, "s", "p", "beijing"), b: move(true, "s", "q", "@exact:beijing"), overlap: true, again: true},
		{a: move(false, "s", "s", "@default", "@slots:0-99"), b: move(false, "s", "q", "@slots:7-7"), overlap: true, again: true},
		{a: move(false, "s", "p", "@slots:0-99"), b: move(false, "p", "q", "@slots:50-60"), again: true},
		{a: move(false, "s", "p", "@slots:0-99"), b: move(true, "p", "q", "paris"), again: true},
		{a: move(false, "s", "p", "@slots:0-99"), b: move(false, "t", "t", "@range:a..b")},
	} {
		for range 2 {
			if got := switchplan.Overlaps(tc.a, tc.b); got != tc.overlap {
				t.Errorf("%+v and %+v overlap: %v", tc.a.Moves, tc.b.Moves, got)
			}
			if got := switchplan.SameRoutes(tc.a, tc.b); got != tc.again {
				t.Errorf("%+v, then %+v moves the same: %v", tc.a.Moves, tc.b.Moves, got)
			}
			if tc.a.Moves[0].NewSet == tc.b.Moves[0].Set && tc.a.Moves[0].Set != tc.b.Moves[0].Set || tc.a.Moves[0].Whole {
				break // one comes after the other
			}
			tc.a, tc.b = tc.b, tc.a
		}
	}
}

// TestRandomSwitches: a switch changes the owner of what it names and of nothing else.
func TestRandomSwitches(t *testing.T) {
	var values []string
	for a := 'a'; a <= 'h'; a++ {
		for b := 'a'; b <= 'h'; b++ {
			values = append(values, string([]rune{a, b}))
		}
	}
	moved, refused := 0, 0
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		pick := func(names ...string) string { return names[rnd.IntN(len(names))] }
		some := func() string {
			return pick("@default", "@range:a..d", "@range:b..c", "@range:c..f", "@slots:0-511", "@slots:128-255", "@slots:256-1023", "@unit-1", "@unit-2", "aa", "bb", "cc", values[rnd.IntN(len(values))])
		}
		table, err := route.New([]string{"unit-1", "unit-2"}, map[string][]string{"unit-1": {"aa"}, "unit-2": {"bb", "hh"}})
		if err != nil {
			t.Fatal(err)
		}
		table = withRules(t, table, "@default", "@range:a..d")
		if seed%2 == 0 {
			table = withRules(t, table, "@slots:0-1023", "cc")
		}
		for step := range 8 {
			req := msha.SwitchRequest{Values: []string{some(), some()}, To: pick("unit-1", "unit-2"), Create: rnd.IntN(2) == 0}
			id := fmt.Sprintf("%d-%d", seed, step)
			p := &switchplan.Planner{NewID: func() string { return id }}
			if _, err := p.Plan(context.Background(), req, msha.View{Table: table, Units: units("unit-1", "unit-2")}); err != nil {
				refused++
				continue
			}
			after, _ := switched(t, table, id, req)
			if err := route.Check(after); err != nil {
				t.Fatal(err)
			}
			moved++
			for _, unit := range []string{"unit-1", "unit-2"} {
				compare(t, table, after, req, "", unit)
			}
			for _, value := range values {
				compare(t, table, after, req, value, "unit-1")
			}
			table = after
		}
	}
	if moved < 100 || refused < 20 {
		t.Fatalf("moved %d, refused %d", moved, refused)
	}
}

func compare(t *testing.T, before, after *msha.Table, req msha.SwitchRequest, value, unit string) {
	t.Helper()
	was, _ := before.Lookup(value, unit)
	is, _ := after.Lookup(value, unit)
	names := slices.ContainsFunc(req.Values, func(name string) bool {
		r, err := msha.ParseRule(name)
		if err != nil {
			t.Fatal(err)
		}
		return matching(r, value, unit) && rank(r.Kind) >= best(before, value, unit)
	})
	switch {
	case names && was.Owner != req.To:
		if is.Owner != req.To || is.Term != was.Term+1 {
			t.Fatalf("%q of %s: %+v moved to %+v by %+v", value, unit, was, is, req)
		}
	case !reflect.DeepEqual(was, is):
		t.Fatalf("%q of %s: %+v became %+v by %+v", value, unit, was, is, req)
	}
}

func rank(k msha.RuleKind) int {
	return slices.Index([]msha.RuleKind{msha.RuleDefault, msha.RuleSlot, msha.RuleRange, msha.RuleExact, msha.RuleUnit}, k)
}

// best is the rank of the rule that catches a value.
func best(table *msha.Table, value, unit string) int {
	out := -1
	for _, r := range table.Rules {
		if matching(r, value, unit) {
			out = max(out, rank(r.Kind))
		}
	}
	return out
}

func matching(r msha.Rule, value, unit string) bool {
	if value == "" {
		return r.Kind == msha.RuleUnit && r.Value == unit
	}
	switch r.Kind {
	case msha.RuleExact:
		return r.Value == value
	case msha.RuleRange:
		return r.Low <= value && value < r.High
	case msha.RuleSlot:
		return r.From <= msha.Slot(value) && msha.Slot(value) < r.To
	}
	return r.Kind == msha.RuleDefault
}
