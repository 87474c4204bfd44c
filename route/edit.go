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
// moves. Values without a rule of their own get one if the plan creates rules; of a rule that is named in part, the rest stays. ErrBusy if a set is fenced already.
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

// split points the rules of the moved values to the new set. A rule of which only a part moves is cut.
func split(out, t *msha.Table, m msha.Move, create bool) error {
	named, err := msha.ParseRules(m.Values)
	if err != nil {
		return err
	}
	cut, gaps := msha.CutRules(out.Rules, named)
	out.Rules = make([]msha.Rule, 0, len(cut)+len(gaps))
	for _, part := range cut {
		if part.Named && part.Set != m.Set {
			return msha.Errorf("route.fence", msha.RuleName(part.Rule), "make a new plan", "%w: the value is in route set %s, no longer in %s", msha.ErrConflict, part.Set, m.Set)
		}
		if part.Named {
			part.Set = m.NewSet
		}
		out.Rules = append(out.Rules, part.Rule)
	}
	for _, r := range gaps {
		if !create || !slices.Equal(t.SetsFor(r), []string{m.Set}) {
			return msha.Errorf("route.fence", msha.RuleName(r), "create=true makes a rule for values that another rule of the set covers", "%w: no rule of its own", msha.ErrInvalid)
		}
		r.Set = m.NewSet
		out.Rules = append(out.Rules, r)
	}
	return nil
}

// Reopen undoes what Fence did for a switch: owner and term stay. A part that was split off stays a set of its own.
func Reopen(t *msha.Table, switchID string) (*msha.Table, error) {
	out := next(t)
	for id, s := range out.Sets {
		if s.State == msha.SetFenced && s.Switch == switchID {
			s.State, s.Switch, s.Deadline, s.Aborting = msha.SetOpen, "", 0, false
			out.Sets[id] = s
		}
	}
	return out.Index(), nil
}

// Abort keeps the fence of a switch and rules its commit out.
func Abort(t *msha.Table, switchID string) (*msha.Table, error) {
	out := next(t)
	for id, s := range out.Sets {
		if s.State == msha.SetFenced && s.Switch == switchID {
			s.Aborting = true
			out.Sets[id] = s
		}
	}
	return out.Index(), nil
}

// Commit gives fenced sets to their new owners under the next term. A forced one leaves a note of the term that it ended, for Rejoin.
func Commit(t *msha.Table, plan *msha.Plan, hashes map[string]string) (*msha.Table, error) {
	out := next(t)
	for _, m := range plan.Moves {
		s, ok := out.Sets[m.NewSet]
		if !ok || s.State != msha.SetFenced || s.Switch != plan.ID || s.Aborting || s.Term != m.Term || hashes[m.NewSet] == "" {
			return nil, msha.Errorf("route.commit", "set "+m.NewSet, "make a new plan", "%w: the set is not fenced by switch %s in term %d with something handed over", msha.ErrConflict, plan.ID, m.Term)
		}
		next := msha.RouteSet{ID: s.ID, Owner: m.To, Term: m.Term + 1, State: msha.SetOpen, RemainingHash: hashes[m.NewSet], Forced: s.Forced}
		if plan.Request.Forced {
			lost := msha.ForcedTerm{Unit: m.From, Set: s.FactsSet(), Term: s.Term, RemainingHash: s.RemainingHash}
			next.Forced = append(slices.Clone(s.Forced), lost)
		}
		out.Sets[m.NewSet] = next
	}
	if err := Check(out); err != nil {
		return nil, err
	}
	return out.Index(), nil
}

// Rejoin takes the note of a unit's forced term away from every set that has one: hashes says what the sets' terms have to process now, by
// set id, and from is the table it was computed with. ErrConflict if one of the sets has changed since, or is missing in hashes.
func Rejoin(t, from *msha.Table, unit string, hashes map[string]string) (*msha.Table, error) {
	out := next(t)
	for _, id := range sortedSets(t) {
		s := t.Sets[id]
		if _, forced := s.ForcedFrom(unit); !forced {
			continue
		}
		was := from.Sets[id]
		if s.State != msha.SetOpen || was.State != s.State || was.Owner != s.Owner || was.Term != s.Term || was.RemainingHash != s.RemainingHash || hashes[id] == "" {
			return nil, msha.Errorf("route.rejoin", "set "+id, "try again", "%w: the set has changed since what remains was computed", msha.ErrConflict)
		}
		s.RemainingHash = hashes[id]
		s.Forced = slices.DeleteFunc(slices.Clone(s.Forced), func(f msha.ForcedTerm) bool { return f.Unit == unit })
		out.Sets[id] = s
	}
	if err := Check(out); err != nil {
		return nil, err
	}
	return out.Index(), nil
}
