package manager

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

// RuleAnswer is the JSON answer of /rules: a rule that was added or removed, and the route set that its values are in, before and after.
type RuleAnswer struct {
	Rule    string `json:"rule"` // msha.RuleName
	Set     string `json:"set"`
	Owner   string `json:"owner"`
	Term    uint64 `json:"term"`
	Version uint64 `json:"version"` // the table's, from which on it is so
	By      string `json:"by,omitempty"`
}

// AddRule adds a rule to the table and changes the owner of no value, as route.AddRule does; the rule's set is not used, and owner is needed
// only where no rule catches the values yet. ErrNotFound if there is no such unit, ErrUnsafe if the metastore cannot be relied on.
func (m *Manager) AddRule(ctx context.Context, rule msha.Rule, owner string) (*RuleAnswer, error) {
	return m.editRules(ctx, rule, func(ctx context.Context, t *msha.Table) (*msha.Table, error) {
		if err := m.mayOwn(ctx, rule, owner); err != nil {
			return nil, err
		}
		fresh := rule
		fresh.Set = "r-" + newID()
		return route.AddRule(t, fresh, owner)
	})
}

// RemoveRule takes a rule out of the table where that changes neither owner nor route set of any value, as route.RemoveRule does.
// ErrUnsafe if the metastore cannot be relied on.
func (m *Manager) RemoveRule(ctx context.Context, rule msha.Rule) (*RuleAnswer, error) {
	return m.editRules(ctx, rule, func(_ context.Context, t *msha.Table) (*msha.Table, error) { return route.RemoveRule(t, rule) })
}

const opRules = "manager.rules"

// mayOwn refuses units that are not known, or in quarantine.
func (m *Manager) mayOwn(ctx context.Context, rule msha.Rule, owner string) error {
	units, err := m.registry.Units(ctx)
	if err != nil {
		return err
	}
	named := []string{owner}
	if rule.Kind == msha.RuleUnit {
		named = append(named, rule.Value)
	}
	for _, name := range named {
		if _, known := units.Find(name); name != "" && !known {
			return msha.Errorf(opRules, name, "known units: "+strings.Join(units.Names(), ", "), "unit %w", msha.ErrNotFound)
		}
	}
	if info, _ := units.Find(owner); info.State == switchplan.Quarantined {
		return msha.Errorf(opRules, owner, "name a live unit", "%w: the unit is in quarantine", msha.ErrConflict)
	}
	return nil
}

// editRules replaces the table by one with a rule more or less.
func (m *Manager) editRules(ctx context.Context, rule msha.Rule, edit func(context.Context, *msha.Table) (*msha.Table, error)) (*RuleAnswer, error) {
	ctx, leave, err := m.enter(ctx, m.ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	a := &RuleAnswer{Rule: msha.RuleName(rule)}
	table, err := m.tables.Update(ctx, func(t *msha.Table) (*msha.Table, error) {
		if err := msha.Safe(m.store); err != nil { // by what the read of t has shown
			return nil, err
		}
		next, err := edit(ctx, t)
		if err != nil {
			return nil, err
		}
		a.Set = setOf(slices.Concat(next.Rules, t.Rules), rule)
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	set := table.Sets[a.Set]
	a.Owner, a.Term, a.Version = set.Owner, set.Term, table.Version
	return a, nil
}

// setOf is the set of the first such rule.
func setOf(rules []msha.Rule, rule msha.Rule) string {
	for _, r := range rules {
		if r.WithoutSet() == rule.WithoutSet() {
			return r.Set
		}
	}
	return ""
}

// serveRule answers POST and DELETE /rules?rule=…
func (m *Manager) serveRule(add bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := m.changeRule(r, add)
		if err != nil {
			fail(w, planStatus(err), "", err)
			return
		}
		done := "rule removed"
		if add {
			done = "rule added"
		}
		m.opts.Logger.Info(done, "rule", answer.Rule, "set", answer.Set, "owner", answer.Owner, "version", answer.Version, "by", answer.By)
		reply(w, http.StatusOK, answer)
	}
}

func (m *Manager) changeRule(r *http.Request, add bool) (*RuleAnswer, error) {
	known := dropRuleParameters
	if add {
		known = addRuleParameters
	}
	q, err := known.of(r)
	if err != nil {
		return nil, err
	}
	by, err := m.who(r, q)
	if err != nil {
		return nil, err
	}
	if err := spelled("rule", q.Get("rule")); err != nil {
		return nil, err
	}
	rule, err := msha.ParseRule(q.Get("rule"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	change := m.RemoveRule
	if add {
		change = func(ctx context.Context, rule msha.Rule) (*RuleAnswer, error) {
			return m.AddRule(ctx, rule, q.Get("owner"))
		}
	}
	answer, err := change(ctx, rule)
	if err == nil {
		answer.By = by
	}
	return answer, err
}

// namedRule is a rule with the name by which it is moved.
type namedRule struct {
	Name string `json:"name"`
	msha.Rule
}

func namedRules(rules []msha.Rule) []namedRule {
	out := make([]namedRule, len(rules))
	for i, r := range rules {
		out[i] = namedRule{msha.RuleName(r), r}
	}
	return out
}
