package switchplan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/go-msha/msha"
)

// EncodePlan writes a plan as JSON: durations like "10s", steps with their settings and by name. ErrInvalid if it could not be run.
func EncodePlan(plan *msha.Plan) ([]byte, error) {
	if err := checkPlan(plan); err != nil {
		return nil, err
	}
	return json.MarshalIndent(plan, "", "  ")
}

// DecodePlan reads a plan strictly: unknown fields, repeated fields, data behind it and plans that could not be run are ErrInvalid, all
// problems at once. Users' steps get the code that steps has under their names, as in Options.Steps; the settings are the plan's. ErrNotFound
// names the steps without code.
func DecodePlan(data []byte, steps map[string]msha.Step) (*msha.Plan, error) {
	plan := &msha.Plan{}
	if err := decodeStrict(data, plan); err != nil {
		return nil, msha.Errorf("switch.decode", "plan", "", "%w: %w", msha.ErrInvalid, err)
	}
	if err := checkPlan(plan); err != nil {
		return nil, err
	}
	return bind(plan, steps)
}

// bind returns the plan with code for the steps that have none.
func bind(plan *msha.Plan, steps map[string]msha.Step) (*msha.Plan, error) {
	bound := *plan
	var missing []string
	bound.Steps, missing = bindSteps(plan.Steps, steps)
	if len(missing) > 0 {
		return nil, msha.Errorf("switch.bind", "steps "+list(missing), "register them in Options.Steps of every manager; registered: "+list(keys(steps)), "code of steps %w", msha.ErrNotFound)
	}
	return &bound, nil
}

func bindSteps(steps []msha.Step, known map[string]msha.Step) (bound []msha.Step, missing []string) {
	bound = slices.Clone(steps)
	for i, s := range bound {
		if Number(s.Name) > 0 || s.Kind == msha.StepApproval || s.Do != nil {
			continue
		}
		if code := known[s.Name]; code.Do != nil {
			bound[i].Do, bound[i].Undo, bound[i].Skip = code.Do, code.Undo, code.Skip
		} else {
			missing = append(missing, s.Name)
		}
	}
	return bound, missing
}

func checkPlan(plan *msha.Plan) error {
	problems := []string{"no plan"}
	if plan != nil {
		problems = planProblems(plan)
	}
	if len(problems) == 0 {
		return nil
	}
	return msha.Errorf("switch.plan", "", "make plans with a Planner", "%w: %s", msha.ErrInvalid, strings.Join(problems, "; "))
}

func planProblems(plan *msha.Plan) (problems []string) {
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if plan.ID == "" || len(plan.Moves) == 0 || plan.Deadline <= 0 {
		add("a plan needs an id, moves and a deadline")
	}
	if plan.Deadline > MaxDeadline {
		add("the deadline of the fence is %s, the longest is %s", plan.Deadline, MaxDeadline)
	}
	for _, name := range plan.Request.Override {
		if !slices.Contains(guardNames, name) {
			add("override %q: the guards are %s", name, strings.Join(guardNames, ", "))
		}
	}
	problems = append(problems, replayProblems(&plan.Request)...)
	taken := map[string]bool{}
	for i, m := range plan.Moves {
		if m.Set == "" || m.NewSet == "" || m.From == "" || m.To == "" || m.Term == 0 {
			add("move %d: needs set, new set, term and units", i)
		}
		if stays := m.From == m.To; stays != (plan.Request.Replay != nil) {
			add("move %d: needs two different units; in a replay the same", i)
		}
		if m.Whole != (m.Set == m.NewSet) || !m.Whole && len(m.Values) == 0 {
			add("move %d: a whole set keeps its id; a part has values and a new id", i)
		}
		if _, err := msha.ParseRules(m.Values); err != nil {
			add("move %d: %v", i, err)
		}
		if taken[m.NewSet] {
			add("move %d: set %q is in another move", i, m.NewSet)
		}
		taken[m.NewSet] = true
	}
	return append(problems, stepsProblems(plan.Steps)...)
}

func stepsProblems(steps []msha.Step) (problems []string) {
	var order []string
	seen := map[string]bool{}
	for i, s := range steps {
		if Number(s.Name) > 0 {
			order = append(order, s.Name)
		}
		if seen[s.Name] {
			problems = append(problems, fmt.Sprintf("step %d: the name %q is taken", i, s.Name))
		}
		seen[s.Name] = true
		for _, p := range stepProblems(s) {
			problems = append(problems, fmt.Sprintf("step %d (%s): %s", i, s.Name, p))
		}
	}
	if !slices.Equal(order, phases) || steps[0].Name != Check {
		problems = append(problems, "the steps must contain the seven phases in order, "+Check+" first")
	}
	return problems
}

// stepProblems says what is wrong with a step by itself.
func stepProblems(s msha.Step) (problems []string) {
	settings := s.Timeout != 0 || s.Attempts != 0 || s.Pause != 0 || s.SkipOnError
	code := s.Do != nil || s.Undo != nil || s.Skip != nil
	switch {
	case s.Name == "":
		problems = append(problems, "no name")
	case Number(s.Name) > 0 && (settings || code || s.Kind != ""):
		problems = append(problems, "a phase has no settings of its own")
	}
	if s.Timeout < 0 || s.Attempts < 0 || s.Pause < 0 {
		problems = append(problems, "timeout, attempts and pause must be 0 or more")
	}
	switch s.Kind {
	case "":
	case msha.StepApproval:
		if s.Attempts != 0 || s.Pause != 0 || s.SkipOnError || code {
			problems = append(problems, "an approval has a timeout only")
		}
	default:
		problems = append(problems, fmt.Sprintf("unknown kind %q", s.Kind))
	}
	return problems
}

// decodeStrict reads exactly one JSON value. Types with an UnmarshalJSON of their own decode leniently, so the names of fields are
// compared here.
func decodeStrict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data behind the plan")
	}
	return onlyFields(json.NewDecoder(bytes.NewReader(data)), reflect.TypeOf(into).Elem(), "")
}

// onlyFields reads one value and fails at a field that its type does not have, or that comes twice.
func onlyFields(d *json.Decoder, t reflect.Type, path string) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch {
	case token == json.Delim('{') && t.Kind() == reflect.Struct:
		known, seen := fieldTypes(t), map[string]bool{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return err
			}
			field := path + "." + name.(string)
			kind, ok := known[name.(string)]
			if !ok || seen[name.(string)] {
				return fmt.Errorf("unknown or repeated field %q; fields: %s", strings.TrimPrefix(field, "."), list(keys(known)))
			}
			seen[name.(string)] = true
			if err := onlyFields(d, kind, field); err != nil {
				return err
			}
		}
	case token == json.Delim('[') && t.Kind() == reflect.Slice:
		for i := 0; d.More(); i++ {
			if err := onlyFields(d, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	default:
		if _, nested := token.(json.Delim); nested {
			return fmt.Errorf("%s: not expected here", path)
		}
		return nil
	}
	_, err = d.Token()
	return err
}

// fieldTypes are the fields of a struct by their names in JSON.
func fieldTypes(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "-" && name != "" {
			out[name] = t.Field(i).Type
		}
	}
	return out
}
