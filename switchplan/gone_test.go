package switchplan_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// A process that no broker lists is gone if it was looked for all the time. Nobody looks while a step runs, or while a manager stands still.
func TestAProcessThatWasNotLookedForIsNotGone(t *testing.T) {
	for name, after := range map[string]string{"a step before the fence": switchplan.Check, "a step behind it": switchplan.Drain} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				connected := w.clients["unit-2/channel"]
				w.clients["unit-2/channel"], w.mute["c2"] = []string{"c1"}, true
				plan := w.plan(t, guangzhou)
				var ended time.Time
				insertAfter(t, plan, after, msha.Step{Name: "long", Timeout: time.Hour, Do: func(context.Context) error {
					time.Sleep(time.Second)
					w.do(func() { w.clients["unit-2/channel"] = connected }) // its gate reopens
					time.Sleep(time.Second)
					w.do(func() {
						w.clients["unit-2/channel"] = slices.DeleteFunc(slices.Clone(connected), func(id string) bool { return id == "c2" })
					})
					ended = time.Now()
					return nil
				}})
				p := &timedTables{process: &process{world: w}}
				report, err := p.executor(t, func(o *switchplan.Options) { o.Tables = p }).Run(t.Context(), plan)
				require.NoError(t, err)
				require.Less(t, report.Pause, 10*time.Second)
				if after == switchplan.Check {
					require.GreaterOrEqual(t, p.fenced.Sub(ended), 30*time.Second, "its gate is open for so long")
				} else { // the log was marked, so its gate cannot have reopened by itself
					require.Less(t, p.committed.Sub(ended), time.Second)
				}
			})
		})
	}
}

// A step directly behind the fence comes before the drain: the log is marked first, so that who is gone need not be waited for again.
func TestWhoIsGoneWhenTheLogIsMarkedStaysGone(t *testing.T) {
	for name, forced := range map[string]bool{"planned": false, "forced": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.clients["unit-2/channel"] = []string{"c1"}
				req := guangzhou
				if forced {
					req = forcedGuangzhou
				}
				plan := w.plan(t, req)
				marked := false
				insertAfter(t, plan, switchplan.Fence, msha.Step{Name: "long", Do: func(context.Context) error {
					w.do(func() { marked = slices.Contains(w.asked, "mark unit-2") })
					time.Sleep(8 * time.Second)
					return nil
				}})
				report, err := (&process{world: w}).executor(t).Run(t.Context(), plan)
				require.NoError(t, err)
				require.Equal(t, !forced, marked)
				require.Less(t, report.Pause, 10*time.Second)
			})
		})
	}
}

// sleepy is a cluster whose manager stands still once, between two looks.
type sleepy struct {
	*process
	looks int
}

func (s *sleepy) Clients(ctx context.Context, unit string, groups []string) (map[string][]string, error) {
	if unit == "unit-2" {
		if s.looks++; s.looks == 3 {
			time.Sleep(8 * time.Second)
		}
	}
	return s.process.Clients(ctx, unit, groups)
}

func TestAManagerThatStoodStillHasNotLooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.clients["unit-2/channel"] = []string{"c1"}
		p := &process{world: w}
		begun := time.Now()
		_, err := p.executor(t, func(o *switchplan.Options) { o.Cluster = &sleepy{process: p} }).Run(t.Context(), w.plan(t, guangzhou))
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(begun), 38*time.Second)
	})
}
