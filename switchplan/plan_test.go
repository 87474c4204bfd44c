package switchplan_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

func nothing(context.Context) error { return nil }

// richPlan uses everything a plan can say.
func richPlan(t testing.TB) *msha.Plan {
	req := msha.SwitchRequest{
		Values: []string{"guangzhou", "shenzhen"}, To: "unit-1", Create: true, AllowUnmanaged: []string{"old"}, Deadline: 1500 * time.Millisecond,
		Override: []string{switchplan.GuardLag}, By: "alice",
	}
	plan, err := new(switchplan.Planner).Plan(context.Background(), req, msha.View{Table: table(), Units: units("unit-1", "unit-2")})
	if err != nil {
		t.Fatal(err)
	}
	freeze := msha.Step{Name: "freeze", Do: nothing, Undo: nothing, Timeout: 2 * time.Second, Attempts: 3, Pause: 250 * time.Millisecond, SkipOnError: true}
	if err := errors.Join(switchplan.InsertAfter(plan, switchplan.Drain, freeze), switchplan.InsertAfter(plan, switchplan.Check, switchplan.Approval("approve", time.Hour))); err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestPlanAsJSON(t *testing.T) {
	plan := richPlan(t)
	b, err := switchplan.EncodePlan(plan)
	if err != nil {
		t.Fatal(err)
	}
	for _, readable := range []string{`"deadline": "1.5s"`, `"timeout": "1h0m0s"`, `"pause": "250ms"`, `"kind": "approval"`, `"by": "alice"`} {
		if !strings.Contains(string(b), readable) {
			t.Errorf("lacks %s:\n%s", readable, b)
		}
	}
	undo := errors.New("undo")
	back, err := switchplan.DecodePlan(b, map[string]msha.Step{"freeze": {Do: nothing, Undo: func(context.Context) error { return undo }, Timeout: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(back.Steps, func(s msha.Step) bool { return s.Name == "freeze" })
	if got := back.Steps[at]; got.Do == nil || !errors.Is(got.Undo(context.Background()), undo) || got.Timeout != 2*time.Second {
		t.Fatalf("the code is the registered one, the settings are the plan's: %+v", got)
	}
	for _, p := range []*msha.Plan{plan, back} { // functions do not compare
		for i := range p.Steps {
			p.Steps[i].Do, p.Steps[i].Undo = nil, nil
		}
	}
	if !reflect.DeepEqual(plan, back) {
		t.Fatalf("\n%+v\n%+v", plan, back)
	}
	var direct msha.Plan // the same form without the functions of this package
	if err := json.Unmarshal(b, &direct); err != nil || !reflect.DeepEqual(*plan, direct) {
		t.Fatalf("%v\n%+v", err, direct)
	}
}

func TestPlanOfAnOlderManager(t *testing.T) {
	var step msha.Step
	if err := json.Unmarshal([]byte(`{"name":"freeze","timeout":2000000000}`), &step); err != nil || step.Timeout != 2*time.Second {
		t.Fatalf("%v, %+v", err, step)
	}
}

func TestStepsWithoutCode(t *testing.T) {
	b, err := switchplan.EncodePlan(richPlan(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = switchplan.DecodePlan(b, map[string]msha.Step{"thaw": {Do: nothing}})
	if !errors.Is(err, msha.ErrNotFound) || !strings.Contains(err.Error(), "steps freeze") || !strings.Contains(err.Error(), "thaw") {
		t.Fatal(err)
	}
	var plan msha.Plan
	if err := json.Unmarshal(b, &plan); err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	if _, err := (&process{world: w}).executor(t).Run(context.Background(), &plan); !errors.Is(err, msha.ErrNotFound) || errors.Is(err, msha.ErrAborted) || len(w.docs) != 0 {
		t.Fatalf("%v, documents %v", err, w.docs)
	}
}

func TestDecodeIsStrict(t *testing.T) {
	good, err := switchplan.EncodePlan(richPlan(t))
	if err != nil {
		t.Fatal(err)
	}
	steps := map[string]msha.Step{"freeze": {Do: nothing}}
	edit := func(old, new string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("no %s in the plan", old)
		}
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	for says, data := range map[string][]byte{
		"EOF":                                nil,
		"a plan needs an id":                 []byte("null"),
		`unknown or repeated field "speed"`:  edit(`"id":`, `"speed": 1, "id":`),
		`unknown or repeated field "ID"`:     edit(`"id":`, `"ID":`),
		`field "moves[0].vlaues"`:            edit(`"newSet":`, `"vlaues": [], "newSet":`),
		`field "steps[0].undo"`:              edit(`"name": "check"`, `"name": "check", "undo": true`),
		`unknown or repeated field "id"`:     edit(`"id":`, `"id": "x", "id":`),
		"data behind the plan":               append(slices.Clone(good), "{}"...),
		"not a duration like 10s: yesterday": edit(`"1.5s"`, `"yesterday"`),
		"phase has no settings":              edit(`"name": "fence"`, `"name": "fence", "timeout": "1s"`),
		`unknown kind "vote"`:                edit(`"kind": "approval"`, `"kind": "vote"`),
		"seven phases in order":              edit(`"name": "drain"`, `"name": "drain 2"`),
		"is taken":                           edit(`"name": "approve"`, `"name": "freeze"`),
		"0 or more":                          edit(`"timeout": "2s"`, `"timeout": "-2s"`),
		"two different units":                edit(`"to": "unit-1",`+"\n      "+`"term"`, `"to": "unit-2",`+"\n      "+`"term"`),
		`override "luck"`:                    edit(`"lag-limit"`, `"luck"`),
	} {
		_, err := switchplan.DecodePlan(data, steps)
		if !errors.Is(err, msha.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q: %v", says, err)
		}
	}
}

func FuzzDecodePlan(f *testing.F) {
	good, err := switchplan.EncodePlan(richPlan(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"id":"x","moves":[{}],"steps":[{"name":"check"}],"deadline":"1s"}`))
	f.Add([]byte(`{"steps":{"name":[]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		code := msha.Step{Do: nothing}
		plan, err := switchplan.DecodePlan(data, map[string]msha.Step{"freeze": code, "": code})
		if err != nil {
			if plan != nil || !errors.Is(err, msha.ErrInvalid) && !errors.Is(err, msha.ErrNotFound) {
				t.Fatalf("plan %v, error %v", plan, err)
			}
			return
		}
		again, err := switchplan.EncodePlan(plan)
		if err != nil {
			t.Fatal(err)
		}
		second, err := switchplan.DecodePlan(again, map[string]msha.Step{"freeze": code})
		if err != nil || fmt.Sprint(second.Moves) != fmt.Sprint(plan.Moves) {
			t.Fatalf("%v: not what was decoded first:\n%s", err, again)
		}
		third, err := switchplan.EncodePlan(second)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%v: another form:\n%s\n%s", err, again, third)
		}
	})
}
