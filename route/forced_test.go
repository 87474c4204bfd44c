package route

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// threeUnits is a table in which unit-2 owns guangzhou and shenzhen.
func threeUnits(t *testing.T) *msha.Table {
	table, err := New([]string{"unit-1", "unit-2", "unit-3"}, map[string][]string{"unit-1": {"beijing"}, "unit-2": {"guangzhou", "shenzhen"}})
	require.NoError(t, err)
	return table
}

// move switches a set, or some values of it, and gives the new owner a hand-over with the given hash.
func move(t *testing.T, table *msha.Table, id string, m msha.Move, forced bool, hash string) *msha.Table {
	t.Helper()
	s := table.Sets[m.Set]
	m.From, m.Term, m.Whole = s.Owner, s.Term, len(m.Values) == 0
	if m.NewSet == "" {
		m.NewSet = m.Set
	}
	plan := &msha.Plan{ID: id, Request: msha.SwitchRequest{Forced: forced}, Moves: []msha.Move{m}}
	fenced, err := Fence(table, plan)
	require.NoError(t, err)
	out, err := Commit(fenced, plan, map[string]string{m.NewSet: hash})
	require.NoError(t, err)
	return out
}

func note(unit, set string, term uint64, hash string) msha.ForcedTerm {
	return msha.ForcedTerm{Unit: unit, Set: set, Term: term, RemainingHash: hash}
}

func TestAForcedSwitchLeavesANoteOfTheTermThatItEnded(t *testing.T) {
	first := move(t, threeUnits(t), "1", msha.Move{Set: "unit-2", To: "unit-1"}, true, "h1")
	require.Equal(t, msha.RouteSet{
		ID: "unit-2", Owner: "unit-1", Term: 2, State: msha.SetOpen, RemainingHash: "h1", Forced: []msha.ForcedTerm{note("unit-2", "unit-2", 1, "")},
	}, first.Sets["unit-2"])
	require.True(t, first.Away("unit-2"))
	require.False(t, first.Away("unit-1"))

	second := move(t, first, "2", msha.Move{Set: "unit-2", To: "unit-3"}, true, "h2")
	require.Equal(t, []msha.ForcedTerm{note("unit-2", "unit-2", 1, ""), note("unit-1", "unit-2", 2, "h1")}, second.Sets["unit-2"].Forced, "oldest first")
	require.Len(t, first.Sets["unit-2"].Forced, 1, "the argument is not changed")

	planned := move(t, first, "3", msha.Move{Set: "unit-2", To: "unit-3"}, false, "h3")
	require.Equal(t, msha.RouteSet{
		ID: "unit-2", Owner: "unit-3", Term: 3, State: msha.SetOpen, RemainingHash: "h3", Forced: []msha.ForcedTerm{note("unit-2", "unit-2", 1, "")},
	}, planned.Sets["unit-2"], "a planned switch adds none, and loses none")

	b, err := Encode(second)
	require.NoError(t, err)
	again, err := Parse(b)
	require.NoError(t, err)
	require.Equal(t, second, again)
	require.Equal(t, second.Sets["unit-2"].Forced, again.Sets["unit-2"].Forced)
	plain, err := json.Marshal(threeUnits(t).Sets["unit-2"])
	require.NoError(t, err)
	require.NotContains(t, string(plain), "forced", "no note, no field")
}

func TestAPartThatIsTakenByForceNotesTheFactsItWasRecordedUnder(t *testing.T) {
	start := threeUnits(t)
	plan := &msha.Plan{ID: "1", Moves: []msha.Move{{Set: "unit-2", NewSet: "p", Values: []string{"guangzhou"}, From: "unit-2", To: "unit-1", Term: 1}}}
	fenced, err := Fence(start, plan)
	require.NoError(t, err)
	split, err := Reopen(fenced, "1") // a part of its own, with the facts of the set it comes from
	require.NoError(t, err)
	taken := move(t, split, "2", msha.Move{Set: "p", To: "unit-1"}, true, "h")
	require.Equal(t, []msha.ForcedTerm{note("unit-2", "unit-2", 1, "")}, taken.Sets["p"].Forced)
	require.Empty(t, taken.Sets["unit-2"].Forced)

	// A part of a set with notes has them too, and so has what stays.
	parts := move(t, taken, "3", msha.Move{Set: "p", To: "unit-3"}, false, "h2")
	whole := move(t, threeUnits(t), "4", msha.Move{Set: "unit-2", To: "unit-1"}, true, "h")
	apart := move(t, whole, "5", msha.Move{Set: "unit-2", NewSet: "p", Values: []string{"guangzhou"}, To: "unit-3"}, false, "h2")
	require.Equal(t, []msha.ForcedTerm{note("unit-2", "unit-2", 1, "")}, parts.Sets["p"].Forced)
	require.Equal(t, []msha.ForcedTerm{note("unit-2", "unit-2", 1, "")}, apart.Sets["p"].Forced)
	require.Equal(t, whole.Sets["unit-2"], apart.Sets["unit-2"])
}

func TestAUnitThatIsAwayGainsNothing(t *testing.T) {
	taken := move(t, threeUnits(t), "1", msha.Move{Set: "unit-2", To: "unit-1"}, true, "h")
	plan := &msha.Plan{ID: "2", Moves: []msha.Move{{Set: "unit-2", NewSet: "unit-2", Whole: true, From: "unit-1", To: "unit-2", Term: 2}}}
	fenced, err := Fence(taken, plan)
	require.NoError(t, err)
	_, err = Commit(fenced, plan, map[string]string{"unit-2": "h2"})
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.ErrorContains(t, err, "has not rejoined")
}

func TestRejoinTakesOneUnitsNotesAway(t *testing.T) {
	taken := move(t, threeUnits(t), "1", msha.Move{Set: "unit-2", To: "unit-1"}, true, "h1")
	taken = move(t, taken, "2", msha.Move{Set: "unit-2", NewSet: "p", Values: []string{"guangzhou"}, To: "unit-3"}, true, "h2") // unit-1 is away too
	before := maps.Clone(taken.Sets)
	back, err := Rejoin(taken, taken, "unit-2", map[string]string{"unit-2": "r1", "p": "r2"})
	require.NoError(t, err)
	require.Equal(t, taken.Version+1, back.Version)
	require.Equal(t, msha.RouteSet{ID: "unit-2", Owner: "unit-1", Term: 2, State: msha.SetOpen, RemainingHash: "r1", Forced: []msha.ForcedTerm{}}, back.Sets["unit-2"])
	require.Equal(t, msha.RouteSet{
		ID: "p", Owner: "unit-3", Term: 3, State: msha.SetOpen, RemainingHash: "r2", Forced: []msha.ForcedTerm{note("unit-1", "unit-2", 2, "h1")},
	}, back.Sets["p"], "the note of another unit stays")
	require.Equal(t, before, taken.Sets, "the argument is not changed")
	require.Equal(t, taken.Sets["unit-1"], back.Sets["unit-1"], "sets without a note are not touched")
	require.False(t, back.Away("unit-2"))
	require.True(t, back.Away("unit-1"))
	require.Equal(t, "unit-3", owner(t, back, "guangzhou"))

	b, err := Encode(back)
	require.NoError(t, err)
	again, err := Parse(b)
	require.NoError(t, err)
	require.False(t, again.Away("unit-2"))
	require.Empty(t, again.Sets["unit-2"].Forced)
}

func TestRejoinRefusesWhatHasChangedSince(t *testing.T) {
	from := move(t, threeUnits(t), "1", msha.Move{Set: "unit-2", To: "unit-1"}, true, "h1")
	set := func(f func(*msha.RouteSet)) func(*msha.Table) {
		return func(t *msha.Table) {
			s := t.Sets["unit-2"]
			f(&s)
			t.Sets["unit-2"] = s
		}
	}
	fence := set(func(s *msha.RouteSet) { s.State, s.Switch, s.Deadline = msha.SetFenced, "x", 1 })
	for name, c := range map[string]struct {
		edit   func(*msha.Table)
		from   func(*msha.Table)
		hashes map[string]string
		ok     bool
	}{
		"nothing has changed":         {ok: true},
		"another set has":             {edit: func(t *msha.Table) { s := t.Sets["unit-3"]; s.Term = 9; t.Sets["unit-3"] = s }, ok: true},
		"it is fenced":                {edit: fence},
		"it was fenced then":          {edit: fence, from: fence},
		"it was fenced then, alone":   {from: fence},
		"the owner":                   {edit: set(func(s *msha.RouteSet) { s.Owner = "unit-3" })},
		"the term":                    {edit: set(func(s *msha.RouteSet) { s.Term = 3 })},
		"the hash":                    {edit: set(func(s *msha.RouteSet) { s.RemainingHash = "h9" })},
		"nothing was computed for it": {hashes: map[string]string{"p": "r"}},
		"an empty hash":               {hashes: map[string]string{"unit-2": ""}},
		"a part was split off meanwhile": {edit: func(t *msha.Table) {
			s := t.Sets["unit-2"]
			s.ID, s.Parent = "p", "unit-2"
			t.Sets["p"] = s
		}, hashes: map[string]string{"unit-2": "r", "p": "r"}},
	} {
		t.Run(name, func(t *testing.T) {
			current, then := next(from), next(from)
			if c.edit != nil {
				c.edit(current)
			}
			if c.from != nil {
				c.from(then)
			}
			if c.hashes == nil {
				c.hashes = map[string]string{"unit-2": "r"}
			}
			out, err := Rejoin(current.Index(), then.Index(), "unit-2", c.hashes)
			if c.ok {
				require.NoError(t, err)
				require.Equal(t, "r", out.Sets["unit-2"].RemainingHash)
				return
			}
			require.ErrorIs(t, err, msha.ErrConflict)
			require.Nil(t, out)
		})
	}
}

func TestNotesThatMeanNothingAreRefused(t *testing.T) {
	for _, c := range []struct {
		says  string
		notes []msha.ForcedTerm
	}{
		{"a forced term without unit, set or term", []msha.ForcedTerm{{Set: "s", Term: 1}}},
		{"a forced term without unit, set or term", []msha.ForcedTerm{{Unit: "unit-1", Term: 1}}},
		{"a forced term without unit, set or term", []msha.ForcedTerm{{Unit: "unit-1", Set: "s"}}},
		{`unit "unit-2" owns it and has not rejoined`, []msha.ForcedTerm{note("unit-2", "unit-2", 1, "")}},
		{`two forced terms of unit "unit-1"`, []msha.ForcedTerm{note("unit-1", "s", 1, ""), note("unit-3", "s", 2, ""), note("unit-1", "s", 3, "")}},
	} {
		table := threeUnits(t)
		s := table.Sets["unit-2"]
		s.Forced = c.notes
		table.Sets["unit-2"] = s
		err := Check(table)
		require.ErrorIs(t, err, msha.ErrInvalid)
		require.ErrorContains(t, err, `set "unit-2": `+c.says)
		_, err = Encode(table)
		require.ErrorIs(t, err, msha.ErrInvalid)
	}
	table := threeUnits(t)
	s := table.Sets["unit-2"]
	s.Forced = []msha.ForcedTerm{note("unit-1", "s", 1, ""), note("unit-3", "s", 2, "h")}
	table.Sets["unit-2"] = s
	require.NoError(t, Check(table))
}
