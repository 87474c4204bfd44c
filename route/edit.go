package route

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// New builds the first table: each unit owns its listed values and, as "@unit", the messages without a value made there. The values of a
// unit form one route set until some of them move. ErrInvalid lists every problem.
func New(units []string, values map[string][]string) (*msha.Table, error) {
	t := &msha.Table{Version: 1, Sets: map[string]msha.RouteSet{}}
	for unit := range values {
		if !slices.Contains(units, unit) {
			return nil, msha.Errorf("route.new", unit, "known units: "+strings.Join(units, ", "), "unit %w", msha.ErrNotFound)
		}
	}
	for _, unit := range slices.Sorted(slices.Values(units)) {
		t.Sets[unit] = msha.RouteSet{ID: unit, Owner: unit, Term: 1, State: msha.SetOpen}
		for _, v := range values[unit] {
			t.Rules = append(t.Rules, msha.Rule{Kind: msha.RuleExact, Value: v, Set: unit})
		}
		t.Rules = append(t.Rules, msha.Rule{Kind: msha.RuleUnit, Value: unit, Set: unit})
	}
	if err := Check(t); err != nil {
		return nil, err
	}
	return t.Index(), nil
}

// next is a copy of t with the next version, to be edited and indexed.
func next(t *msha.Table) *msha.Table {
	return &msha.Table{Version: t.Version + 1, Rules: slices.Clone(t.Rules), Sets: maps.Clone(t.Sets)}
}

// Fence splits off the parts that move and marks them fenced by the plan. A part shares the facts of the set it comes from until it
// moves. Values without a rule of their own get one if the plan creates rules. ErrBusy if a set is fenced already.
func Fence(t *msha.Table, plan *msha.Plan) (*msha.Table, error) {
	out := next(t)
	deadline := plan.Deadline
	if deadline <= 0 {
		deadline = 10 * time.Second
	}
	for _, m := range plan.Moves {
		set, ok := out.Sets[m.Set]
		if !ok {
			return nil, msha.Errorf("route.fence", "set "+m.Set, "make a new plan", "route set %w", msha.ErrNotFound)
		}
		if set.State == msha.SetFenced {
			return nil, msha.Errorf("route.fence", "set "+m.Set, "wait until the other switch ends", "%w: fenced by switch %s", msha.ErrBusy, set.Switch)
		}
		part := set
		if !m.Whole {
			part.ID, part.Parent = m.NewSet, set.FactsSet()
			if err := split(out, t, m, plan.Request.Create); err != nil {
				return nil, err
			}
		}
		part.State, part.Switch, part.Deadline = msha.SetFenced, plan.ID, deadline
		out.Sets[part.ID] = part
	}
	if err := Check(out); err != nil {
		return nil, err
	}
	return out.Index(), nil
}

// split points the rules of the moved values to the new set.
func split(out, t *msha.Table, m msha.Move, create bool) error {
	for _, v := range m.Values {
		kind, value := msha.RuleExact, v
		if unit, ok := strings.CutPrefix(v, UnitPrefix); ok {
			kind, value = msha.RuleUnit, unit
		}
		i := slices.IndexFunc(out.Rules, func(r msha.Rule) bool { return r.Kind == kind && r.Value == value })
		if i >= 0 && out.Rules[i].Set != m.Set {
			return msha.Errorf("route.fence", v, "make a new plan", "%w: the value is in route set %s, no longer in %s", msha.ErrConflict, out.Rules[i].Set, m.Set)
		}
		if i >= 0 {
			out.Rules[i].Set = m.NewSet
			continue
		}
		if id, ok := t.SetID(value, ""); !create || !ok || id != m.Set || kind == msha.RuleUnit {
			return msha.Errorf("route.fence", v, "create=true makes a rule for a value another rule covers", "%w: no rule of its own", msha.ErrInvalid)
		}
		out.Rules = append(out.Rules, msha.Rule{Kind: msha.RuleExact, Value: value, Set: m.NewSet})
	}
	return nil
}

// Reopen undoes what Fence did for a switch: owner and term stay. A part that was split off stays a set of its own.
func Reopen(t *msha.Table, switchID string) (*msha.Table, error) {
	out := next(t)
	for id, s := range out.Sets {
		if s.State == msha.SetFenced && s.Switch == switchID {
			s.State, s.Switch, s.Deadline = msha.SetOpen, "", 0
			out.Sets[id] = s
		}
	}
	return out.Index(), nil
}

// Commit gives fenced sets to their new owners under the next term.
func Commit(t *msha.Table, plan *msha.Plan, hashes map[string]string) (*msha.Table, error) {
	out := next(t)
	for _, m := range plan.Moves {
		s, ok := out.Sets[m.NewSet]
		if !ok || s.State != msha.SetFenced || s.Switch != plan.ID || s.Term != m.Term || hashes[m.NewSet] == "" {
			return nil, msha.Errorf("route.commit", "set "+m.NewSet, "make a new plan", "%w: the set is not fenced by switch %s in term %d with something handed over", msha.ErrConflict, plan.ID, m.Term)
		}
		out.Sets[m.NewSet] = msha.RouteSet{ID: s.ID, Owner: m.To, Term: m.Term + 1, State: msha.SetOpen, RemainingHash: hashes[m.NewSet]}
	}
	if err := Check(out); err != nil {
		return nil, err
	}
	return out.Index(), nil
}
