package switchplan_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// Routes stand still behind the fence: its deadline ends users' steps too, however long they may take by themselves.
func TestTheDeadlineEndsStepsBehindTheFence(t *testing.T) {
	hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, tc := range map[string]struct {
		step   msha.Step
		after  string
		undone bool
	}{
		"one long attempt":    {msha.Step{Do: hangs, Timeout: time.Hour}, switchplan.Drain, true},
		"many attempts":       {msha.Step{Do: func(context.Context) error { return errors.New("no luck") }, Attempts: 1000, Pause: time.Second}, switchplan.Drain, false},
		"it may be skipped":   {msha.Step{Do: hangs, Timeout: 4 * time.Second, Attempts: 100, SkipOnError: true}, switchplan.Fence, true},
		"a condition":         {msha.Step{Do: nothing, Timeout: time.Hour, Skip: func(ctx context.Context) (string, error) { return "", hangs(ctx) }}, switchplan.HandOver, true},
		"it ends a bit later": {msha.Step{Do: func(context.Context) error { time.Sleep(10*time.Second + switchplan.StepGrace/2); return nil }, Timeout: time.Hour}, switchplan.HandOver, true},
	} {
		for _, resumed := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", resumed"}[resumed], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld()
					d := &diary{w: w}
					step := tc.step
					step.Name, step.Undo = "step", func(context.Context) error { d.note("un-step"); return nil }
					plan := w.plan(t, guangzhou)
					insertAfter(t, plan, tc.after, step)
					begun := time.Now()
					p := &process{world: w, name: "first"}
					e := p.knowing(t, step)
					if resumed { // the first one dies when the step begins
						_, err := p.executor(t, func(o *switchplan.Options) {
							o.Observer.Phase = func(_, phase string) {
								if phase == "step" {
									p.cutOff(1, false)
								}
							}
						}).Run(t.Context(), cutShort(plan))
						require.ErrorIs(t, err, errDead)
						begun = time.Now().Add(3 * time.Second)
						var told error
						second := (&process{world: w, name: "second"}).executor(t, func(o *switchplan.Options) {
							o.Steps = map[string]msha.Step{"step": step}
							o.Observer.Done = func(_ string, _ *switchplan.Report, err error) { told = err }
						})
						require.NoError(t, second.Resume(t.Context()))
						require.ErrorContains(t, told, "the deadline of the fence passed")
					} else {
						_, err := e.Run(t.Context(), plan)
						require.ErrorIs(t, err, msha.ErrAborted)
						require.ErrorContains(t, err, "the deadline of the fence passed")
					}
					require.InDelta(t, 10*time.Second, time.Since(begun), float64(switchplan.StepGrace))
					s := w.set("guangzhou")
					require.Equal(t, "unit-2", s.Owner)
					require.Equal(t, msha.SetOpen, s.State)
					require.Zero(t, w.commits)
					if tc.undone || resumed {
						require.Equal(t, []string{"un-step fenced"}, d.undone())
					} else {
						require.Empty(t, d.undone())
					}
				})
			})
		}
	}
}

// cutShort is the plan with a step that fails at once.
func cutShort(plan *msha.Plan) *msha.Plan {
	out := *plan
	out.Steps = slices.Clone(plan.Steps)
	at := slices.IndexFunc(out.Steps, func(s msha.Step) bool { return s.Name == "step" })
	out.Steps[at].Do = func(context.Context) error { return context.Canceled }
	out.Steps[at].Skip = nil
	return &out
}

// An approval behind the fence ends with the fence, also where another manager asks for it.
func TestAnApprovalBehindTheFenceIsNotResumedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Drain, switchplan.Approval("approve", time.Hour))
		first := &process{world: w, name: "first"}
		died := make(chan error, 1)
		go func() {
			_, err := first.executor(t).Run(context.Background(), plan)
			died <- err
		}()
		time.Sleep(time.Second)
		first.cutOff(1, false)
		begun := time.Now()
		require.NoError(t, (&process{world: w, name: "second"}).executor(t).Resume(t.Context()))
		require.Less(t, time.Since(begun), 15*time.Second)
		require.Equal(t, msha.SetOpen, w.set("guangzhou").State)
		require.Equal(t, switchplan.StateAborted, w.order(t, plan.ID).State)
		require.Error(t, <-died)
	})
}

// A metastore that hangs does not hold the commit back for ever.
func TestACommitThatHangsIsAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := &process{world: w}
		tables := &hangsOnce{process: p}
		begun := time.Now()
		_, err := p.executor(t, func(o *switchplan.Options) {
			o.Tables = tables
			o.Observer.Phase = func(_, phase string) { tables.hangs = phase == switchplan.Commit }
		}).Run(t.Context(), w.plan(t, guangzhou))
		require.ErrorIs(t, err, msha.ErrAborted)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.InDelta(t, 10*time.Second, time.Since(begun), float64(time.Second))
		require.Equal(t, msha.SetOpen, w.set("guangzhou").State)
	})
}

// hangsOnce is a table store that answers one write when its caller gives up.
type hangsOnce struct {
	*process
	hangs bool
}

func (h *hangsOnce) Update(ctx context.Context, edit func(*msha.Table) (*msha.Table, error)) (*msha.Table, error) {
	if h.hangs {
		h.hangs = false
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.process.Update(ctx, edit)
}

func TestTheDeadlineOfAFenceIsBounded(t *testing.T) {
	w := newWorld()
	e := (&process{world: w}).executor(t)
	req := guangzhou
	req.Deadline = switchplan.MaxDeadline + time.Second
	_, err := new(switchplan.Planner).Plan(t.Context(), req, msha.View{Table: w.table, Units: w.units})
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.ErrorContains(t, err, "the longest is 10m0s")
	plan := w.plan(t, guangzhou)
	plan.Deadline = req.Deadline
	_, err = e.Run(t.Context(), plan)
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.ErrorContains(t, err, "the deadline of the fence is 10m1s, the longest is 10m0s")
	_, err = e.DryRun(t.Context(), plan)
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.Empty(t, w.docs)
	plan.Deadline = switchplan.MaxDeadline
	_, err = e.DryRun(t.Context(), plan)
	require.NoError(t, err)
}
