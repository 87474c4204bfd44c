package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJournalCountsLostAndRepeated(t *testing.T) {
	j := NewJournal()
	c := &Carrier{Unit: "unit-1", Journal: j}
	for _, id := range []string{"a", "b", "c"} {
		j.Sent("unit-2", id)
	}
	require.NoError(t, c.Deliver(context.Background(), "a"))
	require.NoError(t, c.Deliver(context.Background(), "b"))
	require.NoError(t, c.Deliver(context.Background(), "b"))
	got := j.Entries().Count()
	require.Equal(t, Counts{Sent: 3, Processed: 2, Lost: 1, Repeated: 1, By: map[[2]string]int{{"unit-2", "unit-1"}: 2}}, got)
	require.Equal(t, []string{"c"}, j.Entries().Missing())

	c.SetDown(true)
	require.ErrorIs(t, c.Deliver(context.Background(), "c"), errCarrierDown)
	require.Equal(t, map[string]int{"unit-1": 1}, j.Entries().Refused)
}

func TestEntriesOfSeveralProcesses(t *testing.T) {
	one, two := NewJournal(), NewJournal()
	one.Sent("unit-1", "a")
	one.Processed("unit-1", "a")
	two.Processed("unit-2", "a")
	two.Sent("unit-2", "b")
	two.Refused("unit-2")
	all := one.Entries()
	all.Add(two.Entries())
	require.Equal(t, Entries{
		Sent:      map[string]string{"a": "unit-1", "b": "unit-2"},
		Processed: map[string][]string{"a": {"unit-1", "unit-2"}},
		Refused:   map[string]int{"unit-2": 1},
	}, all)
	require.Equal(t, 1, all.Count().Repeated, "both processes had it")
	require.Equal(t, []string{"unit-1"}, one.Entries().Processed["a"], "a copy was changed")
}
