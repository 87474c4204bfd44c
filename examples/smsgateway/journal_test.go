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
	got := j.Count()
	require.Equal(t, Counts{Sent: 3, Processed: 2, Lost: 1, Repeated: 1, By: map[[2]string]int{{"unit-2", "unit-1"}: 2}}, got)
	require.Equal(t, []string{"c"}, j.Missing())

	c.SetDown(true)
	require.ErrorIs(t, c.Deliver(context.Background(), "c"), errCarrierDown)
}
