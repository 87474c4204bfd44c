package switchplan_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// Who was let pass although he does not know the routes stays in the order, and in the report.
func TestClientsThatAreLetPassAreRecorded(t *testing.T) {
	for name, fails := range map[string]bool{"done": false, "aborted": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.mute["plain"], w.mute["late"] = true, true
				w.clients["unit-2/channel"] = append(w.clients["unit-2/channel"], "plain")
				req := guangzhou
				req.AllowUnmanaged, req.By = []string{"channel"}, "alice"
				plan := w.plan(t, req)
				d := &diary{w: w}
				insertAfter(t, plan, switchplan.Check, msha.Step{Name: "wait", Do: func(context.Context) error {
					w.do(func() { w.clients["unit-2/channel"] = []string{"c1", "c2", "late"} })
					return nil
				}})
				if fails {
					insertAfter(t, plan, switchplan.Confirm, d.step("fails", "error"))
				}
				report, err := (&process{world: w}).executor(t).Run(t.Context(), plan)
				require.Equal(t, fails, err != nil, err)
				want := []switchplan.Override{{Guard: "allow-unmanaged=channel", By: "alice",
					What: "unit unit-2: plain takes part and does not know the routes; unit unit-2: late takes part and does not know the routes"}}
				require.Equal(t, want, report.Overrides)
				var said []string
				for _, hit := range w.order(t, plan.ID).Overridden {
					said = append(said, hit.What)
				}
				require.Equal(t, []string{"plain takes part and does not know the routes", "late takes part and does not know the routes"}, said)
			})
		})
	}
}

func TestAGroupThatIsNotManagedCannotBeAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.roster = w.roster.With(msha.RosterMember{ClientID: "c3", Unit: "unit-2", Groups: []string{"audit"}})
		w.clients["unit-2/audit"] = []string{"c3"}
		e := (&process{world: w}).executor(t)
		for group, known := range map[string]bool{"chanel": false, "channel": true, "audit": true} {
			req := guangzhou
			req.AllowUnmanaged = []string{"channel", group}
			plan := w.plan(t, req)
			_, dry := e.DryRun(t.Context(), plan)
			if known {
				require.NoError(t, dry)
				continue
			}
			before := w.docs[msha.SwitchKey].Revision
			_, err := e.Run(t.Context(), plan)
			for _, err := range []error{dry, err} {
				require.ErrorIs(t, err, msha.ErrInvalid)
				require.ErrorContains(t, err, "allow-unmanaged=chanel")
				require.ErrorContains(t, err, "audit, channel")
			}
			require.Equal(t, before, w.docs[msha.SwitchKey].Revision)
		}
	})
}

// What a guard had said when the switch was asked for is not forgotten when it is asked again behind a step, and says something else.
func TestWhatGuardsSaidIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.lag = map[string]int64{"unit-2>unit-1": 11}
		w.clients["unit-1/channel"] = nil
		req := guangzhou
		req.Override = []string{switchplan.GuardLag, switchplan.GuardTarget}
		plan := w.plan(t, req)
		insertAfter(t, plan, switchplan.Check, msha.Step{Name: "wait", Do: func(context.Context) error {
			w.do(func() { w.lag["unit-2>unit-1"], w.clients["unit-1/channel"] = 12, []string{"other"} })
			return nil
		}})
		report, err := (&process{world: w}).executor(t, func(o *switchplan.Options) { o.Guards.MaxLag = 10 }).Run(t.Context(), plan)
		require.NoError(t, err)
		require.Len(t, report.Overrides, 2)
		require.Contains(t, report.Overrides[0].What, "11 messages")
		require.Contains(t, report.Overrides[0].What, "12 messages")
		require.Contains(t, report.Overrides[1].What, "nobody consumes there")
	})
}
