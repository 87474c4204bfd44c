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

// An order that waits for people does not keep the others waiting: neither a second one, nor a fence that nobody lifts.
func TestResumingGoesOnWhileAnOrderWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ctx, stop := context.WithCancel(context.Background())
		resuming := make(chan struct{})
		second := (&process{world: w, name: "second"}).executor(t)
		go func() {
			defer close(resuming)
			second.KeepResuming(ctx, func(err error) { t.Error(err) })
		}()
		dies := func(plan *msha.Plan, at string) {
			p := &process{world: w, name: "of " + plan.ID}
			_, err := p.executor(t, func(o *switchplan.Options) {
				o.Observer.Phase = func(_, phase string) {
					if phase == at {
						p.cutOff(1, false)
					}
				}
			}).Run(ctx, plan)
			require.ErrorIs(t, err, errDead)
		}
		waits := w.plan(t, guangzhou)
		insertAfter(t, waits, switchplan.Check, switchplan.Approval("approve", time.Hour))
		lost := make(chan struct{})
		go func() {
			defer close(lost)
			p := &process{world: w, name: "first"}
			time.AfterFunc(time.Second, func() { p.cutOff(1, false) })
			time.AfterFunc(30*time.Second, p.reconnect)
			_, err := p.executor(t).Run(ctx, waits)
			require.ErrorIs(t, err, msha.ErrBusy)
		}()
		time.Sleep(10 * time.Second)
		require.Equal(t, "second", w.order(t, waits.ID).Manager)

		next := w.plan(t, msha.SwitchRequest{Values: []string{"shenzhen"}})
		dies(next, switchplan.Drain)
		orphan := w.plan(t, msha.SwitchRequest{From: "unit-1", To: "unit-2"})
		p := &process{world: w}
		_, err := p.Update(ctx, func(t *msha.Table) (*msha.Table, error) { return p.Fence(t, orphan) })
		require.NoError(t, err)
		require.Equal(t, msha.SetFenced, w.set("beijing").State)
		time.Sleep(20 * time.Second)
		require.Equal(t, switchplan.StateDone, w.order(t, next.ID).State)
		require.Equal(t, msha.SetOpen, w.set("beijing").State)
		require.Equal(t, switchplan.StateRunning, w.order(t, waits.ID).State)
		<-lost

		require.NoError(t, second.Approve(ctx, waits.ID, "approve", "alice", ""))
		time.Sleep(5 * time.Second)
		require.Equal(t, switchplan.StateDone, w.order(t, waits.ID).State)
		require.Equal(t, 2, w.commits)
		stop()
		<-resuming
	})
}

// An executor that looks late has still to see an order unchanged for the whole time.
func TestAnOrderIsLeftToWhoWorksOnIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Check, switchplan.Approval("approve", time.Minute))
		ctx, stop := context.WithCancel(context.Background())
		resuming := make(chan struct{})
		go func() {
			defer close(resuming)
			(&process{world: w, name: "second"}).executor(t).KeepResuming(ctx, func(err error) { t.Error(err) })
		}()
		_, err := (&process{world: w, name: "first"}).executor(t).Run(ctx, plan)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, "first", w.order(t, plan.ID).Manager)
		stop()
		<-resuming
	})
}
