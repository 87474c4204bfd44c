package switchplan_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// New messages arrive all the time: there is always something that was pulled and is not done yet. The take-over ends all the same.
func TestATakeOverEndsUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.pending, w.arriving = 100, 7
		report, err := (&process{world: w}).executor(t).Run(context.Background(), w.plan(t, guangzhou))
		if err != nil {
			t.Fatal(err)
		}
		if report.TakenOver != 100 || report.Pending != 0 || report.Duration > time.Second {
			t.Fatalf("report %+v", report)
		}
	})
}

// A process that has not acknowledged the commit goes on to pass messages over that it should process: the end is not before it did.
func TestATakeOverWaitsForAcknowledgements(t *testing.T) {
	const late = 5 * time.Second
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.mute["other"] = true
		time.AfterFunc(late, func() { w.do(func() { w.knows("unit-1", "other") }) })
		var waiting []string
		e := (&process{world: w}).executor(t, func(o *switchplan.Options) {
			o.Observer.Waiting = func(_, phase, why string) { waiting = append(waiting, phase+": "+why) }
		})
		report, err := e.Run(context.Background(), w.plan(t, guangzhou))
		if err != nil {
			t.Fatal(err)
		}
		if report.Duration < late || report.Pending != 0 || report.Phases[6].Note != "" {
			t.Fatalf("report %+v", report)
		}
		if !strings.Contains(strings.Join(waiting, "\n"), "take over: not acknowledged by other") {
			t.Fatalf("waited for %q", waiting)
		}
	})
}

func TestATakeOverThatIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.mute["other"], w.arriving = true, 7
		report, err := (&process{world: w}).executor(t).Run(context.Background(), w.plan(t, guangzhou))
		if err != nil {
			t.Fatal(err)
		}
		if want := "7 messages pending when the report was made; not acknowledged by other"; report.Phases[6].Note != want || report.Pending != 7 {
			t.Fatalf("report %+v", report)
		}
	})
}

// Nobody waits for a process that no broker lists: its queues go to others.
func TestATakeOverWithoutAProcessThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.arriving = 7
		w.roster = w.roster.With(msha.RosterMember{ClientID: "gone", Unit: "unit-1", Groups: []string{"channel"}})
		report, err := (&process{world: w}).executor(t).Run(context.Background(), w.plan(t, guangzhou))
		if err != nil {
			t.Fatal(err)
		}
		if report.Pending != 0 || report.Phases[6].Note != "" || report.Phases[6].Duration > time.Second {
			t.Fatalf("report %+v", report)
		}
	})
}
