package route

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// A fence that is marked is not committed any more; it is reopened like any other.
func TestAnAbortKeepsTheFenceAndRulesTheCommitOut(t *testing.T) {
	table := twoUnits(t)
	set := setOf(t, table, "guangzhou")
	plan := &msha.Plan{ID: "p", Moves: []msha.Move{{Set: set.ID, NewSet: set.ID, Whole: true, Values: []string{"guangzhou"}, From: "unit-2", To: "unit-1", Term: set.Term}}}
	fenced, err := Fence(table, plan)
	require.NoError(t, err)
	other, err := Abort(fenced, "another")
	require.NoError(t, err)
	require.Equal(t, fenced.Sets, other.Sets)
	aborting, err := Abort(fenced, "p")
	require.NoError(t, err)
	require.NoError(t, Check(aborting))
	require.False(t, fenced.Sets[set.ID].Aborting, "the argument is not changed")

	body, err := Encode(aborting)
	require.NoError(t, err)
	read, err := Parse(body)
	require.NoError(t, err)
	require.Equal(t, aborting.Sets, read.Sets)
	_, err = Commit(read, plan, map[string]string{set.ID: "h"})
	require.ErrorIs(t, err, msha.ErrConflict)
	open, err := Reopen(read, "p")
	require.NoError(t, err)
	require.Equal(t, table.Sets, open.Sets)
}
