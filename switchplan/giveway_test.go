package switchplan_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// A planned switch waits for the dead unit, as somebody has asked for it before he knew. The forced one does not wait for that.
func TestAPlannedSwitchGivesWayToAForcedOne(t *testing.T) {
	for _, resumed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.clients["unit-2/channel"] = nil
			w.mute["c1"], w.mute["c2"] = true, true
			planned := w.plan(t, guangzhou)
			if resumed { // its manager died at once
				w.do(func() { w.down = map[string]error{"unit-2": errors.New("connection refused")} })
			}
			ended := make(chan error, 1)
			go func() {
				_, err := (&process{world: w}).executor(t).Run(context.Background(), planned)
				ended <- err
			}()
			time.Sleep(2 * time.Second)
			forced := w.plan(t, msha.SwitchRequest{From: "unit-2", Forced: true})
			begun := time.Now()
			if _, err := (&process{world: w, name: "other"}).executor(t).Run(context.Background(), forced); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took > 3*time.Second {
				t.Fatalf("took %v", took)
			}
			if s := w.set("guangzhou"); s.Owner != "unit-1" || len(s.Forced) != 1 {
				t.Fatalf("set %+v", s)
			}
			if err := <-ended; !errors.Is(err, msha.ErrBusy) || !strings.Contains(err.Error(), "a forced switch takes the same routes") {
				t.Fatalf("the planned one: %v", err)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Fatalf("the planned one went on for %v", took)
			}
			o := w.order(t, planned.ID)
			if o.State != switchplan.StateAborted || o.GaveWay != forced.ID {
				t.Fatalf("order %+v", o)
			}
			if err := (&process{world: w, name: "third"}).executor(t).Resume(context.Background()); err != nil {
				t.Fatal(err)
			}
			if s := w.set("guangzhou"); s.Owner != "unit-1" || s.State != msha.SetOpen || w.commits != 1 {
				t.Fatalf("set %+v, %d commits", s, w.commits)
			}
		})
	}
}

// From the fence on an order is not given up: its deadline ends it.
func TestAFencedSwitchDoesNotGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.mute["c1"], w.mute["c2"] = true, true // they do not acknowledge
		ended := make(chan error, 1)
		plan := w.plan(t, guangzhou)
		go func() {
			_, err := (&process{world: w}).executor(t).Run(context.Background(), plan)
			ended <- err
		}()
		time.Sleep(2 * time.Second)
		var view msha.View
		w.do(func() {
			w.clients["unit-2/channel"] = nil
			view = msha.View{Table: w.table, Units: w.units}
		})
		_, err := new(switchplan.Planner).Plan(context.Background(), msha.SwitchRequest{From: "unit-2", Forced: true}, view)
		if !errors.Is(err, msha.ErrBusy) {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, msha.ErrAborted) {
			t.Fatal(err)
		}
	})
}

// What an order has done before its fence is undone when a forced switch takes its routes, which does not wait for that.
func TestAnOrderThatGivesWayIsUndone(t *testing.T) {
	for name, tc := range map[string]struct {
		insert func(t *testing.T, d *diary, plan *msha.Plan)
		undone []string
	}{
		"waiting for an approval": {func(t *testing.T, d *diary, plan *msha.Plan) {
			insertAfter(t, plan, switchplan.Check, d.step("before", "ok"), switchplan.Approval("approve", time.Hour))
		}, []string{"un-before open"}},
		"in a step": {func(t *testing.T, d *diary, plan *msha.Plan) {
			step := d.step("long", "timeout")
			step.Timeout = time.Hour
			insertAfter(t, plan, switchplan.Check, d.step("before", "ok"), step)
		}, []string{"un-long open", "un-before open"}},
		"checking once more": {func(t *testing.T, d *diary, plan *msha.Plan) {
			step := d.step("before", "ok")
			do := step.Do
			step.Do = func(ctx context.Context) error {
				d.w.do(func() { d.w.clients["unit-2/channel"] = nil }) // they are waited for, half a minute
				return do(ctx)
			}
			insertAfter(t, plan, switchplan.Check, step)
		}, []string{"un-before open"}},
	} {
		for _, dead := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", its manager is dead"}[dead], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld()
					d := &diary{w: w}
					planned := w.plan(t, guangzhou)
					tc.insert(t, d, planned)
					first := &process{world: w, name: "first"}
					ended := make(chan error, 1)
					go func() {
						_, err := first.executor(t).Run(context.Background(), planned)
						ended <- err
					}()
					time.Sleep(2 * time.Second)
					if dead {
						first.cutOff(1, false)
					}
					w.do(w.loseUnit2)
					forced := w.plan(t, msha.SwitchRequest{From: "unit-2", To: "unit-1", Forced: true})
					begun := time.Now()
					second := (&process{world: w, name: "second"}).knowing(t, planned.Steps...)
					_, err := second.Run(context.Background(), forced)
					require.NoError(t, err)
					require.Less(t, time.Since(begun), 3*time.Second)
					if dead {
						require.NoError(t, second.Resume(t.Context()))
						first.reconnect()
						<-ended
					} else {
						err := <-ended
						require.ErrorIs(t, err, msha.ErrBusy)
						require.ErrorIs(t, err, msha.ErrAborted)
						require.ErrorContains(t, err, "a forced switch takes the same routes")
					}
					require.Len(t, d.undone(), len(tc.undone))
					for i, what := range tc.undone {
						require.Equal(t, what, d.undone()[i])
					}
					o := w.order(t, planned.ID)
					require.Equal(t, switchplan.StateAborted, o.State)
					require.Equal(t, forced.ID, o.GaveWay)
					s := w.set("guangzhou")
					require.Equal(t, "unit-1", s.Owner)
					require.Equal(t, msha.SetOpen, s.State)
					require.Equal(t, 1, w.commits)
				})
			})
		}
	}
}
