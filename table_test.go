package msha_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func lookupTable(rules ...msha.Rule) *msha.Table {
	t := &msha.Table{Version: 1, Rules: rules, Sets: map[string]msha.RouteSet{}}
	for _, r := range rules {
		if r.Set != "gone" {
			t.Sets[r.Set] = msha.RouteSet{ID: r.Set, Owner: "unit-1", Term: 1, State: msha.SetOpen}
		}
	}
	return t.Index()
}

func requireSets(t *testing.T, table *msha.Table, want map[string]string) {
	t.Helper()
	for value, id := range want {
		set, ok := table.Lookup(value, "unit-1")
		require.Equal(t, id != "", ok, "%q", value)
		require.Equal(t, id, set.ID, "%q", value)
	}
}

func TestRangesAreHalfOpenInByteOrder(t *testing.T) {
	requireSets(t, lookupTable(
		msha.Rule{Kind: msha.RuleRange, Low: "m", High: "t", Set: "m-t"}, // not in order
		msha.Rule{Kind: msha.RuleRange, Low: "a", High: "f", Set: "a-f"},
		msha.Rule{Kind: msha.RuleRange, Low: "f", High: "g", Set: "f-g"}, // adjacent
		msha.Rule{Kind: msha.RuleRange, Low: "京", High: "京\xff", Set: "京"},
	), map[string]string{
		"A": "", "a": "a-f", "ezzz": "a-f", "f": "f-g", "f\xff": "f-g", "g": "", "lzz": "", "m": "m-t", "szz": "m-t", "t": "", "京城": "京", "亭": "",
	})
}

func TestSlots(t *testing.T) {
	half := lookupTable(msha.Rule{Kind: msha.RuleSlot, From: 0, To: 512, Set: "low"})
	whole := lookupTable(msha.Rule{Kind: msha.RuleSlot, From: 0, To: 512, Set: "low"}, msha.Rule{Kind: msha.RuleSlot, From: 512, To: msha.Slots, Set: "high"})
	seen := map[string]int{}
	for i := range 4000 {
		value := string(rune('a'+i%26)) + string(rune('A'+i/26%26)) + string(rune('0'+i%10))
		slot := msha.Slot(value)
		require.True(t, slot >= 0 && slot < msha.Slots)
		want := map[bool]string{true: "low", false: "high"}[slot < 512]
		id, ok := whole.SetID(value, "")
		require.True(t, ok)
		require.Equal(t, want, id)
		_, ok = half.SetID(value, "")
		require.Equal(t, want == "low", ok)
		seen[id]++
	}
	require.Greater(t, min(seen["low"], seen["high"]), 1000, "values spread")
	require.Equal(t, 933, msha.Slot("beijing"), "slots are stored in tables: the function must never change")
}

func TestWhatNoRuleCoversIsNotFound(t *testing.T) {
	var zero msha.Table
	_, ok := zero.Lookup("beijing", "unit-1")
	require.False(t, ok, "a table that is not indexed owns nothing")
	table := lookupTable(msha.Rule{Kind: msha.RuleExact, Value: "beijing", Set: "gone"}, msha.Rule{Kind: msha.RuleUnit, Value: "unit-1", Set: "u"})
	_, ok = table.Lookup("beijing", "unit-1")
	require.False(t, ok, "a rule whose set is missing")
	_, ok = table.Lookup("unit-1", "unit-1")
	require.False(t, ok, "a unit rule is not for values")
	set, ok := table.Lookup("", "unit-1")
	require.True(t, ok)
	require.Equal(t, "u", set.ID)
	_, ok = table.Lookup("", "")
	require.False(t, ok)
	fallback := lookupTable(msha.Rule{Kind: msha.RuleDefault, Set: "d"})
	requireSets(t, fallback, map[string]string{"anything": "d"})
	_, ok = fallback.Lookup("", "unit-1")
	require.False(t, ok, "the default is for values; a message without one belongs to its unit")
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table := lookupTable(
		msha.Rule{Kind: msha.RuleExact, Value: "beijing", Set: "e"}, msha.Rule{Kind: msha.RuleRange, Low: "m", High: "n", Set: "r"},
		msha.Rule{Kind: msha.RuleSlot, From: msha.Slot("slotted"), To: msha.Slot("slotted") + 1, Set: "s"},
		msha.Rule{Kind: msha.RuleDefault, Set: "d"}, msha.Rule{Kind: msha.RuleUnit, Value: "unit-1", Set: "u"},
	)
	for value, want := range map[string]string{"beijing": "e", "mm": "r", "slotted": "s", "else": "d", "": "u"} {
		var got msha.RouteSet
		require.Zero(t, testing.AllocsPerRun(100, func() { got, _ = table.Lookup(value, "unit-1") }), "%q", value)
		require.Equal(t, want, got.ID)
	}
}

func TestRoutersListExactValuesByOwner(t *testing.T) {
	table := lookupTable(msha.Rule{Kind: msha.RuleExact, Value: "b", Set: "x"}, msha.Rule{Kind: msha.RuleExact, Value: "a", Set: "y"},
		msha.Rule{Kind: msha.RuleExact, Value: "c", Set: "z"}, msha.Rule{Kind: msha.RuleDefault, Set: "d"})
	z := table.Sets["z"]
	z.Owner = "unit-0"
	table.Sets["z"] = z
	require.Equal(t, []msha.RouterEntry{{UnitName: "unit-0", Values: []string{"c"}}, {UnitName: "unit-1", Values: []string{"a", "b"}}}, table.Routers())
}

func TestPartsShareFactsUntilTheyMove(t *testing.T) {
	require.Equal(t, "parent", msha.RouteSet{ID: "part", Parent: "parent"}.FactsSet())
	require.Equal(t, "part", msha.RouteSet{ID: "part"}.FactsSet())
}

func TestRosterEditsAreCopies(t *testing.T) {
	old := msha.Roster{}.With(msha.RosterMember{ClientID: "a"}).With(msha.RosterMember{ClientID: "b"})
	replaced := old.With(msha.RosterMember{ClientID: "a", Unit: "u"})
	require.Len(t, replaced.Members, 2)
	require.Empty(t, old.Members[0].Unit)
	require.Len(t, old.Without("a").Members, 1)
	require.Len(t, old.Members, 2)
}

func TestAUnitIsAwayWhileAnySetNotesAForcedTermOfIt(t *testing.T) {
	table := lookupTable(msha.Rule{Kind: msha.RuleExact, Value: "beijing", Set: "a"}, msha.Rule{Kind: msha.RuleExact, Value: "guangzhou", Set: "b"})
	require.False(t, table.Away("unit-2"))
	require.False(t, new(msha.Table).Away("unit-2"))
	second, third := msha.ForcedTerm{Unit: "unit-2", Set: "b", Term: 1}, msha.ForcedTerm{Unit: "unit-3", Set: "b", Term: 2, RemainingHash: "h"}
	b := table.Sets["b"]
	b.Forced = []msha.ForcedTerm{second, third}
	table.Sets["b"] = b
	for unit, away := range map[string]bool{"unit-1": false, "unit-2": true, "unit-3": true, "": false} {
		require.Equal(t, away, table.Away(unit), unit)
		_, ok := b.ForcedFrom(unit)
		require.Equal(t, away, ok, unit)
		_, ok = table.Sets["a"].ForcedFrom(unit)
		require.False(t, ok, unit)
	}
	lost, _ := b.ForcedFrom("unit-3")
	require.Equal(t, third, lost)
	lost, _ = b.ForcedFrom("unit-2")
	require.Equal(t, second, lost)
}
