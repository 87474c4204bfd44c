package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-msha/msha"
)

// AddRule adds a rule without changing the owner of any value: the values it catches stay in the route set they are in, with its term
// and all that belongs to it. Moving the rule is a switch.
//
// Values that no rule caught are in no set. A rule for such values needs an owner, and begins the set r.Set there in term 1: messages that
// nobody processed until now, because they were nobody's, are processed from the groups' baselines on, as far as brokers still have
// them. Otherwise r.Set is not used, and owner is empty or the unit that owns the values.
//
// ErrInvalid if the rule is none, if it overlaps another one of its kind, if its values belong to several sets, which are named, or if
// they have no owner; ErrConflict if the rule exists, if another unit owns the values, or if owner has not
// rejoined; ErrBusy if they are being moved.
func AddRule(t *msha.Table, r msha.Rule, owner string) (*msha.Table, error) {
	const op = "route.add rule"
	name, fresh := msha.RuleName(r), r.Set
	if i := indexOf(t.Rules, r); i >= 0 {
		return nil, msha.Errorf(op, name, "move it by a switch", "%w: the rule exists, in route set %s", msha.ErrConflict, t.Rules[i].Set)
	}
	out := next(t)
	out.Rules = append(out.Rules, r)
	if problems := append(checkRule(r), checkOverlaps(out.Rules)...); len(problems) > 0 {
		return nil, invalid(op, problems)
	}
	sets := t.SetsFor(r)
	if len(sets) > 1 {
		return nil, msha.Errorf(op, name, "add rules for parts of it that belong to one set each; values in different sets have different histories, and keep them",
			"%w: its values belong to more than one route set: %s", msha.ErrInvalid, describeSets(t, sets))
	}
	set := t.Sets[sets[0]]
	switch {
	case sets[0] == "" && (owner == "" || fresh == ""):
		return nil, msha.Errorf(op, name, "name the unit that is to own them", "%w: no rule catches its values, so they have no owner", msha.ErrInvalid)
	case sets[0] == "" && t.Away(owner):
		return nil, msha.Errorf(op, name, "wait until it has rejoined", "%w: unit %s lost routes by force and must not gain any", msha.ErrConflict, owner)
	case sets[0] == "":
		if _, taken := t.Sets[fresh]; taken {
			return nil, msha.Errorf(op, name, "choose another id", "%w: there is a route set %s", msha.ErrConflict, fresh)
		}
		set = msha.RouteSet{ID: fresh, Owner: owner, Term: 1, State: msha.SetOpen}
		out.Sets[fresh] = set
	case set.State == msha.SetFenced:
		return nil, busy(op, name, set)
	case owner != "" && owner != set.Owner:
		return nil, msha.Errorf(op, name, "add it without an owner, then move it by a switch", "%w: unit %s owns its values", msha.ErrConflict, set.Owner)
	}
	out.Rules[len(out.Rules)-1].Set = set.ID
	if err := Check(out); err != nil {
		return nil, err
	}
	return out.Index(), nil
}

// RemoveRule takes a rule away if that changes neither the owner nor the route set of any value: another rule gives all of its values to
// the same set. ErrConflict if it does not, ErrNotFound if there is no such rule, ErrBusy if its values are being moved.
func RemoveRule(t *msha.Table, r msha.Rule) (*msha.Table, error) {
	const op = "route.remove rule"
	name, i := msha.RuleName(r), indexOf(t.Rules, r)
	if i < 0 {
		return nil, msha.Errorf(op, name, "see the table for the rules", "rule %w", msha.ErrNotFound)
	}
	id := t.Rules[i].Set
	if set := t.Sets[id]; set.State == msha.SetFenced {
		return nil, busy(op, name, set)
	}
	out := next(t)
	out.Rules = slices.Delete(out.Rules, i, i+1)
	out.Index()
	if sets := out.SetsFor(r); !slices.Equal(sets, []string{id}) {
		return nil, msha.Errorf(op, name, "values keep their route set: a rule can go where another one gives its values the same set",
			"%w: its values belong to %s, and would fall to %s", msha.ErrConflict, describeSets(t, []string{id}), describeSets(t, sets))
	}
	return out, nil
}

func indexOf(rules []msha.Rule, r msha.Rule) int {
	return slices.IndexFunc(rules, func(have msha.Rule) bool { return have.WithoutSet() == r.WithoutSet() })
}

func busy(op, resource string, set msha.RouteSet) error {
	return msha.Errorf(op, resource, "wait until the switch ends", "%w: route set %s is fenced by switch %s", msha.ErrBusy, set.ID, set.Switch)
}

// describeSets names sets with their owners.
func describeSets(t *msha.Table, ids []string) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		if parts[i] = fmt.Sprintf("%s (%s, term %d)", id, t.Sets[id].Owner, t.Sets[id].Term); id == "" {
			parts[i] = "none, because no rule catches them"
		}
	}
	return strings.Join(parts, ", ")
}
