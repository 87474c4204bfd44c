package switchplan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// cutOff lets a process reach nothing from one of its next calls on; with after, that call has its effect and loses its answer.
func (p *process) cutOff(call int, after bool) {
	p.world.do(func() { p.killAt, p.after = p.calls+call, after })
}

func (p *process) reconnect() { p.world.do(func() { p.killAt = 0 }) }

// knowing is an executor that has the code of steps.
func (p *process) knowing(t *testing.T, steps ...msha.Step) *switchplan.Executor {
	return p.executor(t, func(o *switchplan.Options) {
		o.Steps = map[string]msha.Step{}
		for _, s := range steps {
			o.Steps[s.Name] = s
		}
	})
}

func (d *diary) undone() (out []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, what := range d.done {
		if strings.HasPrefix(what, "un-") {
			out = append(out, what)
		}
	}
	return out
}

// Behind the commit nothing is undone, also if nobody can know yet that it is behind the commit.
func TestACommitInDoubtUndoesNothing(t *testing.T) {
	for name, cut := range map[string]struct {
		call  int
		after bool
	}{"its answer is lost": {1, true}, "the order cannot be saved": {2, false}, "the order is saved, the answer lost": {2, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				d := &diary{w: w}
				before, behind := d.step("before", "ok"), d.step("behind", "ok")
				plan := w.plan(t, guangzhou)
				insertAfter(t, plan, switchplan.Check, before)
				insertAfter(t, plan, switchplan.Drain, behind)
				first := &process{world: w, name: "first"}
				_, err := first.executor(t, func(o *switchplan.Options) {
					o.Observer.Phase = func(_, phase string) {
						if phase == switchplan.Commit {
							first.cutOff(cut.call, cut.after)
						}
					}
				}).Run(t.Context(), plan)
				require.ErrorIs(t, err, errDead)
				require.NotErrorIs(t, err, msha.ErrAborted)
				require.Equal(t, 1, w.commits)
				require.NoError(t, (&process{world: w, name: "second"}).knowing(t, before, behind).Resume(t.Context()))
				require.Equal(t, switchplan.StateDone, w.order(t, plan.ID).State)
				require.Equal(t, "unit-1", w.set("guangzhou").Owner)
				require.Empty(t, d.undone())
			})
		})
	}
}

// The order does not say for a moment that it is given up if it is committed.
func TestACommitThatIsSavedLateIsNeverAborting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d := &diary{w: w}
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Drain, d.step("freeze", "ok"))
		p := &process{world: w, once: true}
		store := &recorder{process: p}
		_, err := p.executor(t, func(o *switchplan.Options) {
			o.Store = store
			o.Observer.Phase = func(_, phase string) {
				if phase == switchplan.Commit {
					p.cutOff(2, false)
				}
			}
		}).Run(t.Context(), plan)
		require.NoError(t, err)
		require.Empty(t, d.undone())
		require.Equal(t, []string{switchplan.StateRunning, switchplan.StateCommitted, switchplan.StateDone}, slices.Compact(store.states))
	})
}

// recorder is a store that notes the states of the only order.
type recorder struct {
	*process
	states []string
}

func (r *recorder) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	var all switchplan.Orders
	if err := json.Unmarshal(value, &all); err != nil {
		return 0, err
	}
	r.states = append(r.states, all.Orders[0].State)
	return r.process.Put(ctx, key, value, expect)
}

// TestKilledWhileAborting kills a manager at each of its calls, or lets only this one fail, before and after the call's effect; others go on with
// the order.
func TestKilledWhileAborting(t *testing.T) {
	for name, refused := range map[string]bool{"a step fails": false, "the commit is refused": true} {
		t.Run(name, func(t *testing.T) {
			states, repeated := map[string]int{}, 0
			for _, how := range []struct{ after, once bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
				after := how.after
				for at, reached := 1, true; reached; at++ {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld()
						d := &diary{w: w}
						last := d.step("last", "error")
						if refused {
							last = d.step("last", "ok")
						}
						steps := []msha.Step{d.step("one", "ok"), d.step("two", "ok"), d.step("three", "ok"), last}
						plan := w.plan(t, guangzhou)
						for i, undo := range steps {
							steps[i].Undo = func(ctx context.Context) error {
								require.Equal(t, switchplan.StateAborting, w.order(t, plan.ID).State, "the order says so before")
								return undo.Undo(ctx)
							}
						}
						insertAfter(t, plan, switchplan.Check, steps[0], steps[1])
						insertAfter(t, plan, switchplan.Drain, steps[2])
						insertAfter(t, plan, switchplan.HandOver, steps[3])
						first := &process{world: w, name: "first", killAt: at, after: after, once: how.once}
						tables := &suspicious{process: first, phase: "never"}
						if refused {
							tables.phase = switchplan.Commit
						}
						_, _ = first.executor(t, func(o *switchplan.Options) { //nolint:errcheck // what became of it is looked at below
							o.Tables = tables
							o.Observer.Phase = func(_, begun string) { tables.now.Store(begun) }
						}).Run(t.Context(), plan)
						if reached = first.calls >= at; !reached {
							return
						}
						for _, name := range []string{"second", "third"} {
							other := (&process{world: w, name: name}).knowing(t, steps...)
							for range 3 { // an orphaned fence needs its deadline to pass
								require.NoError(t, other.Resume(t.Context()))
								time.Sleep(6 * time.Second)
							}
						}
						o, s, undone := w.order(t, plan.ID), w.set("guangzhou"), d.undone()
						where := fmt.Sprintf("killed at %d (%+v): %q, order %+v", at, how, d.done, o)
						states[o.State]++
						require.Equal(t, msha.SetOpen, s.State, where)
						if o.State == switchplan.StateDone {
							require.Empty(t, undone, where)
							require.Equal(t, "unit-1", s.Owner, where)
							return
						}
						require.Equal(t, "unit-2", s.Owner, where)
						require.Zero(t, w.commits, where)
						require.Contains(t, []string{switchplan.StateAborted, ""}, o.State, where)
						require.False(t, s.Aborting)
						once := slices.Compact(slices.Clone(undone))
						require.LessOrEqual(t, len(undone), len(once)+1, "the last one may be repeated: %s", where)
						repeated += len(undone) - len(once)
						var want []string
						for _, step := range steps {
							done := slices.ContainsFunc(d.done, func(what string) bool { return strings.HasPrefix(what, step.Name+" ") })
							interrupted := slices.Contains(once, "un-last fenced") // its manager died with it, for all that another one knows
							if done && (step.Name != "last" || refused || interrupted) {
								want = append(want, "un-"+step.Name+map[bool]string{true: " open", false: " fenced"}[step.Name == "one" || step.Name == "two"])
							}
						}
						slices.Reverse(want)
						if len(once) > len(want) { // the running one may not have begun
							once = once[len(once)-len(want):]
						}
						require.Equal(t, want, once, where)
						if len(undone) > 0 {
							require.Equal(t, undone, d.done[len(d.done)-len(undone):], "nobody goes forward after that: %s", where)
						}
					})
				}
			}
			t.Logf("%v, %d undone twice", states, repeated)
			require.Greater(t, states[switchplan.StateAborted], 20)
			require.Positive(t, repeated)
			if refused {
				require.Positive(t, states[switchplan.StateDone], "killed before it gave the order up")
			}
		})
	}
}

// TestWhoHasLostTheOrderUndoesNothing: a manager stands still in a step; another one takes the order over and commits; then the step fails.
func TestWhoHasLostTheOrderUndoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d := &diary{w: w}
		before, freeze := d.step("before", "ok"), d.step("freeze", "ok")
		plan := w.plan(t, guangzhou)
		first := &process{world: w, name: "first"}
		slow := freeze
		slow.Timeout = time.Hour
		slow.Do = func(context.Context) error {
			first.cutOff(1, false)
			require.NoError(t, (&process{world: w, name: "second"}).knowing(t, before, freeze).Resume(context.Background()))
			first.reconnect()
			return errors.New("no luck")
		}
		insertAfter(t, plan, switchplan.Check, before)
		insertAfter(t, plan, switchplan.Drain, slow)
		_, err := first.executor(t).Run(t.Context(), plan)
		require.ErrorIs(t, err, msha.ErrBusy)
		require.NotErrorIs(t, err, msha.ErrAborted)
		require.Empty(t, d.undone())
		require.Equal(t, switchplan.StateDone, w.order(t, plan.ID).State)
	})
}

// lateCommit is a table store in which a commit is not tried before somebody undoes a step.
type lateCommit struct {
	*process
	undoing, tried chan struct{}
}

func (l *lateCommit) Update(ctx context.Context, edit func(*msha.Table) (*msha.Table, error)) (*msha.Table, error) {
	if l.killAt == 0 {
		return l.process.Update(ctx, edit)
	}
	<-l.undoing
	defer close(l.tried)
	l.reconnect()
	return l.process.Update(context.WithoutCancel(ctx), edit)
}

// A manager stands still on its way to commit. Another one takes the order over and undoes a step: the commit must fail from then on.
func TestNothingIsCommittedWhileStepsAreUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		freeze := msha.Step{Name: "freeze", Do: nothing, Undo: nothing}
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Drain, freeze)
		l := &lateCommit{&process{world: w, name: "first"}, make(chan struct{}), make(chan struct{})}
		ended := make(chan error, 1)
		go func() {
			_, err := l.executor(t, func(o *switchplan.Options) {
				o.Tables = l
				o.Observer.Phase = func(_, phase string) {
					if phase == switchplan.Commit {
						l.cutOff(1, false)
					}
				}
			}).Run(context.Background(), plan)
			ended <- err
		}()
		freeze.Undo = func(context.Context) error {
			close(l.undoing)
			<-l.tried
			return nil
		}
		second := (&process{world: w, name: "second"}).knowing(t, freeze)
		time.Sleep(time.Second)
		require.NoError(t, second.Abort(t.Context(), plan.ID, "alice", ""))
		require.NoError(t, second.Resume(t.Context()))
		require.ErrorIs(t, <-ended, msha.ErrBusy)
		require.Zero(t, w.commits)
		s := w.set("guangzhou")
		require.Equal(t, msha.RouteSet{ID: s.ID, Owner: "unit-2", Term: 3, State: msha.SetOpen}, s)
		require.Equal(t, switchplan.StateAborted, w.order(t, plan.ID).State)
	})
}

// The old owner starts again when the steps behind the fence are undone, but it does not wait for ever.
func TestRoutesReopenAlthoughAStepIsNotUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d := &diary{w: w}
		first, second, third := d.step("first", "ok"), d.step("second", "ok"), d.step("third", "ok")
		second.Timeout, third.Timeout = 3*time.Second, 4*time.Second
		second.Undo = func(ctx context.Context) error { d.note("un-second"); <-ctx.Done(); return ctx.Err() }
		third.Undo = func(context.Context) error { d.note("un-third"); time.Sleep(time.Hour); return nil }
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Drain, first, second, third, d.step("fails", "error"))
		begun := time.Now()
		_, err := (&process{world: w}).executor(t).Run(t.Context(), plan)
		require.ErrorIs(t, err, msha.ErrAborted)
		require.ErrorContains(t, err, "switch.undo second: context deadline exceeded (undo it by hand)")
		require.ErrorContains(t, err, "switch.undo third: context deadline exceeded: it ignores the end of its context and still runs")
		require.Equal(t, []string{"un-third fenced", "un-second fenced", "un-first fenced"}, d.undone())
		require.InDelta(t, 8*time.Second, time.Since(begun), float64(100*time.Millisecond), "4 s, 1 s of grace, 3 s")
		require.Equal(t, msha.SetOpen, w.set("guangzhou").State)
		o := w.order(t, plan.ID)
		require.Equal(t, []string{"fails", "third", "second", "first"}, o.Undone)
		require.Contains(t, o.Error, "switch.undo second")
		time.Sleep(time.Hour)
	})
}

// What stays undone is told by whoever ends the abort, also if another one has tried it.
func TestAnAbortThatAnotherOneEndsTellsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d := &diary{w: w}
		one, two := d.step("one", "ok"), d.step("two", "ok")
		first := &process{world: w, name: "first"}
		two.Undo = func(context.Context) error { d.note("un-two"); return errors.New("it is stuck") }
		cut := one
		cut.Undo = func(context.Context) error { d.note("un-one"); first.cutOff(1, false); return nil }
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Drain, cut, two, d.step("fails", "error"))
		_, err := first.executor(t).Run(t.Context(), plan)
		require.ErrorIs(t, err, errDead)
		require.Equal(t, switchplan.StateAborting, w.order(t, plan.ID).State)
		require.Equal(t, msha.SetFenced, w.set("guangzhou").State)

		require.NoError(t, (&process{world: w, name: "second"}).knowing(t, one, two).Resume(t.Context()))
		require.Equal(t, []string{"un-two fenced", "un-one fenced", "un-one fenced"}, d.undone())
		o := w.order(t, plan.ID)
		require.Equal(t, switchplan.StateAborted, o.State)
		require.Contains(t, o.Error, "switch.step fails: no luck")
		require.Contains(t, o.Error, "switch.undo two: it is stuck")
		require.Equal(t, "unit-2", w.set("guangzhou").Owner)
	})
}

// Another switch could meet the compensation of the aborted one.
func TestRoutesAreBusyUntilTheirStepsAreUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d := &diary{w: w}
		before := d.step("before", "ok")
		plan := w.plan(t, guangzhou)
		before.Undo = func(context.Context) error {
			require.Equal(t, msha.SetOpen, w.set("guangzhou").State)
			_, err := (&process{world: w, name: "other"}).executor(t).Run(t.Context(), w.plan(t, guangzhou))
			require.ErrorIs(t, err, msha.ErrBusy)
			require.ErrorContains(t, err, "another switch, which is aborting")
			return nil
		}
		insertAfter(t, plan, switchplan.Check, before)
		insertAfter(t, plan, switchplan.Drain, d.step("fails", "error"))
		e := (&process{world: w}).executor(t)
		_, err := e.Run(t.Context(), plan)
		require.ErrorIs(t, err, msha.ErrAborted)
		_, err = e.Run(t.Context(), w.plan(t, guangzhou))
		require.NoError(t, err)
	})
}
