package switchplan_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// A group whose first process has just begun has no facts yet. They are waited for before the fence: nothing stands still meanwhile.
func TestFirstFactsAreWaitedForBeforeTheFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.without = map[string][]string{"unit-2": {"channel"}}
		var waited []string
		time.AfterFunc(5*time.Second, func() {
			require.Equal(t, msha.SetOpen, w.set("guangzhou").State)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.without = nil
		})
		report, err := (&process{world: w}).executor(t, func(o *switchplan.Options) {
			o.Observer.Waiting = func(_, phase, why string) { waited = append(waited, phase+": "+why) }
		}).Run(t.Context(), w.plan(t, guangzhou))
		require.NoError(t, err)
		require.Equal(t, "unit-1", w.set("guangzhou").Owner)
		require.Contains(t, waited, "check: no facts yet of channel")
		require.Less(t, report.Pause, time.Second)
	})
}

// A group that nobody runs and that has no facts: the switch would never learn what remains, so it is refused before the fence.
func TestAGroupWithoutFactsAndProcessesRefusesTheSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.units.Units[1].Groups = []string{"channel", "audit"}
		w.without = map[string][]string{"unit-2": {"audit"}}
		version := w.table.Version
		_, err := (&process{world: w}).executor(t).Run(t.Context(), w.plan(t, guangzhou))
		require.ErrorIs(t, err, msha.ErrMissingFacts)
		require.NotErrorIs(t, err, msha.ErrAborted, "nothing was begun")
		require.ErrorContains(t, err, "group audit, unit unit-2")
		require.ErrorContains(t, err, "take it out of the unit document")
		require.Equal(t, version, w.table.Version)
	})
}

// What another executor need not do again is written later than it ended, but before a user's step: whether that ran must be known.
func TestTheOrderIsUpToDateBeforeAUsersStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, phase := range []string{switchplan.Fence, switchplan.Drain, switchplan.Confirm, switchplan.HandOver} {
			w := newWorld()
			plan := w.plan(t, guangzhou)
			ran := false
			require.NoError(t, switchplan.InsertAfter(plan, phase, msha.Step{Name: "mine", Do: func(context.Context) error {
				o := w.order(t, plan.ID)
				require.Equal(t, "mine", o.Phase)
				require.Len(t, o.Results, o.Next)
				require.Equal(t, phase, o.Results[o.Next-1].Phase)
				require.NotZero(t, o.Version)
				ran = true
				return nil
			}}))
			_, err := (&process{world: w}).executor(t).Run(t.Context(), plan)
			require.NoError(t, err)
			require.True(t, ran)
		}
	})
}
