package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func named(t *testing.T, name string) msha.Rule {
	t.Helper()
	r, err := msha.ParseRule(name)
	require.NoError(t, err)
	return r
}

// add adds a rule; set is the one that it would begin.
func add(t *testing.T, table *msha.Table, name, set, owner string) *msha.Table {
	t.Helper()
	r := named(t, name)
	r.Set = set
	out, err := AddRule(table, r, owner)
	require.NoError(t, err)
	require.NoError(t, Check(out))
	require.Equal(t, table.Version+1, out.Version)
	return out
}

// cutOff moves parts of a set, all of it if no names are given.
func cutOff(t *testing.T, table *msha.Table, id, set, to string, names ...string) *msha.Table {
	t.Helper()
	m := msha.Move{Set: set, To: to, Values: names}
	if len(names) > 0 {
		m.NewSet = "part-" + id
	}
	return move(t, table, id, m, false, "h"+id)
}

func setOf(t *testing.T, table *msha.Table, value string) msha.RouteSet {
	t.Helper()
	s, ok := table.Lookup(value, "")
	require.True(t, ok, value)
	return s
}

func TestAddingARuleChangesNoOwner(t *testing.T) {
	first := twoUnits(t)
	_, ok := first.Lookup("paris", "")
	require.False(t, ok)
	rest := add(t, first, "@default", "rest", "unit-2")
	require.Equal(t, msha.RouteSet{ID: "rest", Owner: "unit-2", Term: 1, State: msha.SetOpen}, setOf(t, rest, "paris"))
	require.Equal(t, "unit-1", setOf(t, rest, "beijing").ID, "values with rules keep them")
	require.NotContains(t, first.Sets, "rest", "the argument is not changed")

	moved := cutOff(t, rest, "1", "rest", "unit-1")
	for _, name := range []string{"@slots:0-511", "@range:a..q", "paris"} {
		for _, owner := range []string{"", "unit-1"} {
			more := add(t, moved, name, "unused", owner)
			require.Equal(t, moved.Sets, more.Sets, "no set is new, and none changed")
			require.Equal(t, "rest", more.Rules[len(more.Rules)-1].Set)
		}
	}
	require.Equal(t, "rest", setOf(t, moved, "paris").ID)
	require.EqualValues(t, 2, setOf(t, moved, "paris").Term)

	more := add(t, moved, "@unit-3", "three", "unit-2")
	s, ok := more.Lookup("", "unit-3")
	require.True(t, ok)
	require.Equal(t, "three", s.ID)
}

func TestRulesThatAreNotAdded(t *testing.T) {
	table := add(t, add(t, twoUnits(t), "@default", "rest", "unit-2"), "@slots:0-511", "", "")
	apart := cutOff(t, table, "1", "rest", "unit-1", "@slots:0-99")
	plan := &msha.Plan{ID: "2", Moves: []msha.Move{{Set: "rest", NewSet: "rest", Whole: true, From: "unit-2", To: "unit-1", Term: 1}}}
	fenced, err := Fence(table, plan)
	require.NoError(t, err)
	lost := move(t, table, "3", msha.Move{Set: "unit-1", To: "unit-2"}, true, "h")
	for _, c := range []struct {
		table       *msha.Table
		rule        msha.Rule
		owner       string
		err         error
		says, fresh string
	}{
		{table: table, rule: named(t, "beijing"), err: msha.ErrConflict, says: "exists, in route set unit-1"},
		{table: table, rule: named(t, "@slots:0-511"), err: msha.ErrConflict, says: "exists"},
		{table: table, rule: named(t, "@default"), owner: "unit-1", err: msha.ErrConflict, says: "exists"},
		{table: table, rule: named(t, "@slots:500-600"), err: msha.ErrInvalid, says: "slots [0, 512) and slots [500, 601) overlap"},
		{table: table, rule: named(t, "paris"), owner: "unit-1", err: msha.ErrConflict, says: "unit unit-2 owns its values"},
		{table: apart, rule: named(t, "@range:a..m"), err: msha.ErrInvalid, says: "part-1 (unit-1, term 2), rest (unit-2, term 1)"},
		{table: fenced, rule: named(t, "paris"), err: msha.ErrBusy, says: "fenced by switch 2"},
		{table: twoUnits(t), rule: named(t, "paris"), err: msha.ErrInvalid, says: "no owner"},
		{table: twoUnits(t), rule: named(t, "paris"), owner: "unit-1", fresh: "unit-2", err: msha.ErrConflict, says: "there is a route set unit-2"},
		{table: lost, rule: named(t, "@unit-4"), owner: "unit-1", err: msha.ErrConflict, says: "lost routes by force"},
		{table: table, rule: msha.Rule{Kind: msha.RuleSlot, From: 5, To: 5}, err: msha.ErrInvalid, says: "0 <= from < to"},
		{table: table, rule: msha.Rule{Kind: msha.RuleExact, Value: "a\x01"}, err: msha.ErrInvalid, says: "bytes 0, 1 and 2"},
		{table: table, rule: msha.Rule{Kind: "regexp"}, err: msha.ErrInvalid, says: "unknown kind"},
		{table: add(t, twoUnits(t), "@slots:0-511", "low", "unit-1"), rule: named(t, "@range:a..m"), err: msha.ErrInvalid, says: "none, because no rule catches them, low (unit-1, term 1)"},
	} {
		if c.rule.Set = c.fresh; c.fresh == "" {
			c.rule.Set = "fresh"
		}
		out, err := AddRule(c.table, c.rule, c.owner)
		require.ErrorIs(t, err, c.err, "%+v", c.rule)
		require.ErrorContains(t, err, c.says)
		require.Nil(t, out)
	}
}

func TestARuleGoesWhereItsValuesKeepTheirSet(t *testing.T) {
	table := add(t, twoUnits(t), "@default", "rest", "unit-2")
	for _, name := range []string{"@slots:0-511", "@range:a..m", "paris"} {
		table = add(t, table, name, "", "")
	}
	for _, name := range []string{"paris", "@slots:0-511", "@range:a..m"} {
		without, err := RemoveRule(table, named(t, name))
		require.NoError(t, err, name)
		require.NoError(t, Check(without))
		require.Len(t, without.Rules, len(table.Rules)-1)
		require.Equal(t, table.Sets, without.Sets)
	}
	apart := cutOff(t, table, "1", "rest", "unit-1", "@slots:0-99", "paris")
	plan := &msha.Plan{ID: "2", Moves: []msha.Move{{Set: "rest", NewSet: "rest", Whole: true, From: "unit-2", To: "unit-1", Term: 1}}}
	fenced, err := Fence(table, plan)
	require.NoError(t, err)
	for _, c := range []struct {
		table *msha.Table
		name  string
		err   error
		says  string
	}{
		{table, "@default", msha.ErrConflict, "would fall to none"},
		{table, "beijing", msha.ErrConflict, "belong to unit-1 (unit-1, term 1), and would fall to rest (unit-2, term 1)"},
		{table, "@unit-1", msha.ErrConflict, "would fall to none"},
		{table, "london", msha.ErrNotFound, "rule not found"},
		{table, "@slots:0-5", msha.ErrNotFound, "rule not found"},
		{apart, "@slots:0-99", msha.ErrConflict, "would fall to rest"},
		{apart, "@range:a..m", msha.ErrConflict, "would fall to part-1"},
		{apart, "paris", msha.ErrConflict, "part-1 (unit-1, term 2)"},
		{fenced, "paris", msha.ErrBusy, "fenced by switch 2"},
	} {
		_, err := RemoveRule(c.table, named(t, c.name))
		require.ErrorIs(t, err, c.err, c.name)
		require.ErrorContains(t, err, c.says, c.name)
	}
}

func TestAPartOfARuleMoves(t *testing.T) {
	table := add(t, add(t, twoUnits(t), "@default", "rest", "unit-2"), "@slots:0-511", "", "")
	table = add(t, table, "@range:a..m", "", "")
	plan := &msha.Plan{ID: "1", Moves: []msha.Move{{Set: "rest", NewSet: "p", Values: []string{"@slots:0-255", "@range:c..d"}, From: "unit-2", To: "unit-1", Term: 1}}}
	fenced, err := Fence(table, plan)
	require.NoError(t, err)
	inSet := func(table *msha.Table, set string) (names []string) {
		for _, r := range table.Rules {
			if r.Set == set {
				names = append(names, msha.RuleName(r))
			}
		}
		return names
	}
	require.Equal(t, []string{"@slots:0-255", "@range:c..d"}, inSet(fenced, "p"))
	require.Equal(t, []string{"@default", "@slots:256-511", "@range:a..c", "@range:d..m"}, inSet(fenced, "rest"))
	require.Equal(t, msha.SetFenced, fenced.Sets["p"].State)
	require.Equal(t, "rest", fenced.Sets["p"].FactsSet())
	require.Equal(t, msha.SetOpen, fenced.Sets["rest"].State)
	require.Len(t, table.Rules, 8, "the argument is not changed")

	reopened, err := Reopen(fenced, "1")
	require.NoError(t, err)
	require.Equal(t, fenced.Rules, reopened.Rules, "parts stay sets of their own")
	require.Equal(t, "rest", reopened.Sets["p"].FactsSet())
	require.Equal(t, "unit-2", reopened.Sets["p"].Owner)

	for name, err := range map[string]error{"@slots:200-300": msha.ErrConflict, "@slots:600-700": msha.ErrInvalid, "@range:m..n": msha.ErrInvalid, "@unit-9": msha.ErrInvalid, "@what:": msha.ErrInvalid} {
		plan := &msha.Plan{ID: "2", Moves: []msha.Move{{Set: "rest", NewSet: "q", Values: []string{name}, From: "unit-2", To: "unit-1", Term: 1}}}
		_, got := Fence(reopened, plan)
		require.ErrorIs(t, got, err, name)
	}
	made, err := Fence(table, &msha.Plan{ID: "3", Request: msha.SwitchRequest{Create: true}, Moves: []msha.Move{
		{Set: "rest", NewSet: "q", Values: []string{"@slots:500-600", "paris"}, From: "unit-2", To: "unit-1", Term: 1},
	}})
	require.NoError(t, err)
	require.Equal(t, []string{"@slots:500-511", "paris", "@slots:512-600"}, inSet(made, "q"), "rules are made for what the default rule covers")
}

// universe are values that between them meet every kind of rule in all combinations.
func universe() (values []string) {
	for a := 'a'; a <= 'h'; a++ {
		for b := 'a'; b <= 'h'; b++ {
			values = append(values, string([]rune{a, b}))
		}
	}
	return append(values, "a", "d", "g")
}

// randomRule names any kind of rule, with few enough bounds that they meet.
func randomRule(rnd *rand.Rand) msha.Rule {
	pair := func(n int) (int, int) {
		low := rnd.IntN(n)
		return low, low + 1 + rnd.IntN(n-low)
	}
	switch rnd.IntN(8) {
	case 0, 1:
		values := universe()
		return msha.Rule{Kind: msha.RuleExact, Value: values[rnd.IntN(len(values))]}
	case 2, 3:
		low, high := pair(8)
		return msha.Rule{Kind: msha.RuleRange, Low: string(rune('a' + low)), High: string(rune('a' + high))}
	case 4, 5:
		from, to := pair(16)
		return msha.Rule{Kind: msha.RuleSlot, From: from * 64, To: to * 64}
	case 6:
		return msha.Rule{Kind: msha.RuleUnit, Value: fmt.Sprintf("unit-%d", 1+rnd.IntN(4))}
	}
	return msha.Rule{Kind: msha.RuleDefault}
}

// kinds in the order in which they count, the last one first.
var kinds = []msha.RuleKind{msha.RuleDefault, msha.RuleSlot, msha.RuleRange, msha.RuleExact}

// matches says whether a rule is for a value, whatever other rules there are.
func matches(r msha.Rule, value, unit string) bool {
	switch {
	case value == "" || r.Kind == msha.RuleUnit:
		return r.Kind == msha.RuleUnit && value == "" && r.Value == unit
	case r.Kind == msha.RuleExact:
		return r.Value == value
	case r.Kind == msha.RuleRange:
		return r.Low <= value && value < r.High
	case r.Kind == msha.RuleSlot:
		return r.From <= msha.Slot(value) && msha.Slot(value) < r.To
	}
	return r.Kind == msha.RuleDefault
}

// caught says which kind of rule catches a value: its index in kinds, -1 for none.
func caught(table *msha.Table, value, unit string) int {
	best := -1
	for _, r := range table.Rules {
		if matches(r, value, unit) {
			best = max(best, slices.Index(kinds, r.Kind), 0)
		}
	}
	return best
}

type place struct{ value, unit string }

func places() (out []place) {
	for _, v := range universe() {
		out = append(out, place{v, "unit-1"})
	}
	for i := range 4 {
		out = append(out, place{"", fmt.Sprintf("unit-%d", i+1)})
	}
	return out
}

// TestRandomEdits: whatever is added, removed, cut off and moved, the table is valid, and nothing changes its set or owner but what is named.
func TestRandomEdits(t *testing.T) {
	count := map[string]int{}
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		table, err := New([]string{"unit-1", "unit-2", "unit-3"}, map[string][]string{"unit-1": {"aa", "cd"}, "unit-2": {"ef"}})
		require.NoError(t, err)
		for step := range 25 {
			id := fmt.Sprint("s", step)
			switch rnd.IntN(5) {
			case 0, 1, 2:
				r := randomRule(rnd)
				r.Set = id
				after, err := AddRule(table, r, []string{"", "unit-1", "unit-2"}[rnd.IntN(3)])
				if err != nil {
					count["not added"]++
					continue
				}
				count["added"]++
				sameButNew(t, table, after, r, count)
				table = after
			case 3:
				r := table.Rules[rnd.IntN(len(table.Rules))]
				after, err := RemoveRule(table, r)
				if err != nil {
					count["not removed"]++
					continue
				}
				count["removed"]++
				sameButNew(t, table, after, msha.Rule{}, count)
				table = after
			case 4:
				table = randomMove(t, rnd, table, id, count)
			}
			require.NoError(t, Check(table))
		}
	}
	for _, what := range []string{"added", "began a set", "not added", "removed", "not removed", "moved", "reopened", "cut", "made", "not fenced"} {
		require.Greater(t, count[what], 5, "%s: %v", what, count)
	}
	t.Log(count)
}

// sameButNew compares the sets of all values; only what no rule caught, and a new one does, may be in one that it was not in.
func sameButNew(t *testing.T, before, after *msha.Table, added msha.Rule, count map[string]int) {
	t.Helper()
	for _, p := range places() {
		was, had := before.Lookup(p.value, p.unit)
		is, has := after.Lookup(p.value, p.unit)
		if had || !has {
			require.Equal(t, had, has, "%+v", p)
			require.Equal(t, was, is, "%+v", p)
			continue
		}
		require.True(t, matches(added, p.value, p.unit), "%+v", p)
		require.Equal(t, added.Set, is.ID)
		require.EqualValues(t, 1, is.Term)
	}
	if len(after.Sets) > len(before.Sets) {
		count["began a set"]++
	}
}

// randomPart names a rule of a set, or a part of one, as a rule; sometimes any rule.
func randomPart(rnd *rand.Rand, table *msha.Table, set string) msha.Rule {
	own := slices.DeleteFunc(slices.Clone(table.Rules), func(r msha.Rule) bool { return r.Set != set })
	r := own[rnd.IntN(len(own))].WithoutSet()
	switch n := rnd.IntN(6); {
	case n == 0:
		return randomRule(rnd)
	case n == 1:
		return msha.Rule{Kind: msha.RuleExact, Value: universe()[rnd.IntN(len(universe()))]}
	case r.Kind == msha.RuleSlot:
		r.From += rnd.IntN(r.To - r.From)
		r.To -= rnd.IntN(r.To - r.From)
	case r.Kind == msha.RuleRange && n < 5:
		if middle := r.Low + "d"; middle < r.High {
			r.Low = middle
		}
	}
	return r
}

// randomMove fences some rules of a set, or parts of them, and commits or reopens.
func randomMove(t *testing.T, rnd *rand.Rand, table *msha.Table, id string, count map[string]int) *msha.Table {
	t.Helper()
	set := table.Sets[table.Rules[rnd.IntN(len(table.Rules))].Set]
	var specs []msha.Rule
	m := msha.Move{Set: set.ID, NewSet: id, From: set.Owner, To: []string{"unit-1", "unit-2", "unit-3"}[rnd.IntN(3)], Term: set.Term}
	for range 1 + rnd.IntN(3) {
		specs = append(specs, randomPart(rnd, table, set.ID))
	}
	for _, r := range specs {
		m.Values = append(m.Values, msha.RuleName(r))
	}
	plan := &msha.Plan{ID: id, Request: msha.SwitchRequest{Create: rnd.IntN(2) == 0}, Moves: []msha.Move{m}}
	fenced, err := Fence(table, plan)
	if err != nil {
		count["not fenced"]++
		return table
	}
	require.NoError(t, Check(fenced))
	if made := len(fenced.Rules) - len(table.Rules); made > 0 && plan.Request.Create {
		count["made"]++
	} else if made > 0 {
		count["cut"]++
	}
	after, err := Reopen(fenced, id)
	require.NoError(t, err)
	commit := rnd.IntN(3) > 0
	if commit {
		after, err = Commit(fenced, plan, map[string]string{id: "h" + id})
		require.NoError(t, err)
		count["moved"]++
	} else {
		count["reopened"]++
	}
	for _, p := range places() {
		was, had := table.Lookup(p.value, p.unit)
		is, has := after.Lookup(p.value, p.unit)
		require.Equal(t, had, has, "%+v", p)
		names := slices.ContainsFunc(specs, func(r msha.Rule) bool {
			return matches(r, p.value, p.unit) && max(slices.Index(kinds, r.Kind), 0) >= caught(table, p.value, p.unit)
		})
		switch {
		case !names:
			require.Equal(t, was, is, "%+v was not named by %v", p, m.Values)
		case commit:
			require.Equal(t, msha.RouteSet{ID: id, Owner: m.To, Term: m.Term + 1, State: msha.SetOpen, RemainingHash: "h" + id}, is, "%+v was named by %v", p, m.Values)
			require.Equal(t, set.ID, was.ID)
		default:
			part := set
			part.ID, part.Parent = id, set.FactsSet()
			require.Equal(t, part, is, "%+v was named by %v", p, m.Values)
		}
	}
	return after
}
