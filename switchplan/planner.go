package switchplan

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// DefaultDeadline is that of a fence whose request names none; MaxDeadline is the longest: routes stand still behind a fence.
const DefaultDeadline, MaxDeadline = 10 * time.Second, 10 * time.Minute

// Quarantined is the state of a unit that must not gain routes.
const Quarantined = "quarantined"

// Planner is the msha.SwitchPlanner of planned switches. The zero value is ready; it is safe for concurrent use.
type Planner struct {
	NewID func() string // id of a plan, unique for ever; nil: a random UUID
}

var _ msha.SwitchPlanner = (*Planner)(nil)

// Plan says what moves where. It does not block and changes nothing. ErrNotFound names the known units or values; ErrInvalid if
// the request contradicts itself or the table; ErrBusy if a route is in another switch.
func (p *Planner) Plan(_ context.Context, req msha.SwitchRequest, view msha.View) (*msha.Plan, error) {
	if view.Table == nil || view.Units == nil {
		return nil, invalid("", "read the table and the unit document first", "no table or no units to plan with")
	}
	if (len(req.Values) == 0) == (req.From == "") {
		return nil, invalid("", "name either values or the unit to move away from", "want either values or from")
	}
	if req.Deadline < 0 {
		return nil, invalid(req.Deadline.String(), "use 0 for the default", "negative deadline")
	}
	if req.Deadline > MaxDeadline {
		return nil, invalid(req.Deadline.String(), "the longest is "+MaxDeadline.String()+"; steps that take longer come before "+Fence, "the deadline of the fence is too long: nobody processes the routes behind it")
	}
	for _, name := range req.Override {
		if !slices.Contains(guardNames, name) {
			return nil, invalid("override="+name, "guards: "+strings.Join(guardNames, ", "), "no such guard")
		}
	}
	for _, unit := range []string{req.From, req.To} {
		if _, ok := view.Units.Find(unit); unit != "" && !ok {
			return nil, msha.Errorf(opPlan, unit, "known units: "+strings.Join(view.Units.Names(), ", "), "unit %w", msha.ErrNotFound)
		}
	}
	picked, err := pick(req, view.Table)
	if err != nil {
		return nil, err
	}
	var to string
	if req.Replay == nil {
		to, err = target(req, view, picked)
	} else {
		err = replayable(req, picked)
	}
	if err != nil {
		return nil, err
	}
	newID := p.NewID
	if newID == nil {
		newID = randomUUID
	}
	plan := &msha.Plan{ID: newID(), Request: req, Deadline: req.Deadline}
	if plan.Deadline == 0 {
		plan.Deadline = DefaultDeadline
	}
	if plan.Moves, err = moves(plan.ID, picked, to, view.Table); err != nil {
		return nil, err
	}
	for _, name := range phases {
		plan.Steps = append(plan.Steps, msha.Step{Name: name})
	}
	return plan, nil
}

const opPlan = "switch.plan"

func invalid(resource, hint, what string) error {
	return msha.Errorf(opPlan, resource, hint, "%w: %s", msha.ErrInvalid, what)
}

// picked is what a request takes out of one set.
type picked struct {
	set    msha.RouteSet
	values []string // names of rules (msha.RuleName), sorted, without repeats
	whole  bool     // all rules of the set are among them
}

// pick finds the sets a request touches, in order of their ids.
func pick(req msha.SwitchRequest, table *msha.Table) ([]picked, error) {
	named, err := msha.ParseRules(req.Values)
	if err != nil {
		return nil, err
	}
	bySet := map[string]*picked{}
	add := func(id string, r msha.Rule) {
		if bySet[id] == nil {
			bySet[id] = &picked{set: table.Sets[id]}
		}
		bySet[id].values = append(bySet[id].values, msha.RuleName(r))
	}
	rest := map[string]bool{} // sets that keep something
	cut, gaps := msha.CutRules(table.Rules, named)
	for _, part := range cut {
		if part.Named || req.From != "" && table.Sets[part.Set].Owner == req.From {
			add(part.Set, part.Rule)
		} else {
			rest[part.Set] = true
		}
	}
	for _, r := range gaps {
		id, err := covering(req, table, r)
		if err != nil {
			return nil, err
		}
		add(id, r)
	}
	if len(bySet) == 0 {
		return nil, invalid(req.From, "see the table for the owners", "the unit owns nothing that could move")
	}
	out := make([]picked, 0, len(bySet))
	for id, p := range bySet {
		if p.set.ID == "" {
			return nil, invalid(id, "repair the table document", "a rule names a set that is not in the table")
		}
		slices.Sort(p.values)
		p.whole = !rest[id]
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b picked) int { return strings.Compare(a.set.ID, b.set.ID) })
	return out, nil
}

// covering is the set that values without a rule of their own are in, if the request makes rules.
func covering(req msha.SwitchRequest, table *msha.Table, r msha.Rule) (string, error) {
	sets, name := table.SetsFor(r), msha.RuleName(r)
	switch {
	case slices.Equal(sets, []string{""}):
		return "", msha.Errorf(opPlan, name, "known values: "+list(names(table.Rules)), "value %w", msha.ErrNotFound)
	case len(sets) > 1:
		if sets[0] == "" {
			sets[0] = "none"
		}
		return "", invalid(name, "name rules of the table, or values: "+list(names(table.Rules)), "there is no such rule, and its values belong to more than one route set: "+list(sets))
	case !req.Create:
		return "", invalid(name, "repeat with create=true to give it its own rule; rules: "+list(names(table.Rules)), "only a range, slot or default rule covers the value")
	}
	return sets[0], nil
}

func names(rules []msha.Rule) []string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = msha.RuleName(r)
	}
	return out
}

// target is the gaining unit: named, or the other one of two.
func target(req msha.SwitchRequest, view msha.View, picked []picked) (string, error) {
	var live []string
	for _, u := range view.Units.Units {
		if u.State != Quarantined && !view.Table.Away(u.Name) {
			live = append(live, u.Name)
		}
	}
	if req.To != "" {
		if !slices.Contains(live, req.To) {
			return "", invalid(req.To, "live units: "+list(live), "the gaining unit is quarantined, or has not rejoined after a forced switch")
		}
		if req.To == req.From {
			return "", invalid(req.To, "live units: "+list(live), "from and to are the same unit")
		}
		return req.To, nil
	}
	if len(live) != 2 {
		return "", invalid("", "name the gaining unit with to; live units: "+list(live), "a switch without a target needs exactly two live units")
	}
	owner := picked[0].set.Owner
	for _, p := range picked {
		if p.set.Owner != owner {
			return "", invalid("", "name the gaining unit with to", "the values are owned by different units: "+owner+", "+p.set.Owner)
		}
	}
	switch owner {
	case live[0]:
		return live[1], nil
	case live[1]:
		return live[0], nil
	}
	return "", invalid(owner, "name the gaining unit with to", "the owner is not a live unit")
}

// moves leaves out what already is where it should be; without a target everything stays, under a new term.
func moves(planID string, picked []picked, to string, table *msha.Table) ([]msha.Move, error) {
	var out []msha.Move
	short := strings.ReplaceAll(planID, "-", "")
	short = short[:min(12, len(short))]
	for _, p := range picked {
		if p.set.State == msha.SetFenced {
			return nil, msha.Errorf(opPlan, "route set "+p.set.ID, "wait until it ends, then try again", "%w: in switch %s", msha.ErrBusy, p.set.Switch)
		}
		m := msha.Move{Set: p.set.ID, NewSet: p.set.ID, Values: p.values, Whole: p.whole, From: p.set.Owner, To: to, Term: p.set.Term}
		switch to {
		case p.set.Owner:
			continue
		case "":
			m.To = p.set.Owner
		}
		if !p.whole {
			m.NewSet = fmt.Sprintf("s-%s-%d", short, len(out)+1)
			if _, taken := table.Sets[m.NewSet]; taken {
				return nil, invalid(m.NewSet, "make a new plan", "the set id is taken")
			}
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, invalid(to, "see the table for the owners", "nothing to move: the unit already owns it")
	}
	return out, nil
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// list names at most 50 of the given, sorted.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	names = slices.Sorted(slices.Values(names))
	if rest := len(names) - 50; rest > 0 {
		return strings.Join(names[:50], ", ") + fmt.Sprintf(" and %d more", rest)
	}
	return strings.Join(names, ", ")
}

func randomUUID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
