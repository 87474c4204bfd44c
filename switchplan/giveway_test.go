package switchplan_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
