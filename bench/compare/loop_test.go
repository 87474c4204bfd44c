package main

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestLoopHoldsACityWhileItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &loopRoutes{}
		r.set(loopTable{"guangzhou": {Owner: unit2}})
		require.True(t, r.owns(unit2, "guangzhou"))
		require.False(t, r.owns(unit1, "guangzhou"))
		require.False(t, r.owns(unit1, "a city that nobody knows"))

		r.set(loopTable{"guangzhou": {Owner: unit1, Held: true}})
		require.False(t, r.owns(unit2, "guangzhou"), "the old owner does not wait")
		var owned []bool
		go func() { owned = append(owned, r.owns(unit1, "guangzhou")) }()
		synctest.Wait()
		require.Empty(t, owned, "the new one does")
		r.set(loopTable{"guangzhou": {Owner: unit1}})
		synctest.Wait()
		require.Equal(t, []bool{true}, owned)
	})
}

func TestFailuresAreTheSameForAllSides(t *testing.T) {
	n := 0
	for i := range 10_000 {
		if key := string(rune(i)); fails(1, key) {
			n++
			require.True(t, fails(1, key))
		}
	}
	require.InDelta(t, failPercent*100, n, 100)
}
