package switchplan_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// A switch is called off by another manager while it waits. The executor that works on it sees that with its next beat.
func TestASwitchIsCalledOff(t *testing.T) {
	patient := msha.Step{Name: "patient", Timeout: time.Hour, Do: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	for name, tc := range map[string]struct {
		insert func(t *testing.T, d *diary, plan *msha.Plan)
		world  func(*world)
		undone []string
		state  msha.SetState // when it is called off
	}{
		"waiting for an approval": {state: msha.SetOpen, undone: []string{"un-before open"}, insert: func(t *testing.T, d *diary, plan *msha.Plan) {
			insertAfter(t, plan, switchplan.Check, d.step("before", "ok"), switchplan.Approval("approve", time.Hour))
		}},
		"in a step": {state: msha.SetOpen, undone: []string{"un-patient open", "un-before open"}, insert: func(t *testing.T, d *diary, plan *msha.Plan) {
			step := patient
			step.Do = func(ctx context.Context) error { d.note("patient"); return patient.Do(ctx) }
			step.Undo = func(context.Context) error { d.note("un-patient"); return nil }
			insertAfter(t, plan, switchplan.Check, d.step("before", "ok"), step)
		}},
		"in a step that may be skipped": {state: msha.SetOpen, undone: []string{"un-before open"}, insert: func(t *testing.T, d *diary, plan *msha.Plan) {
			step := patient
			step.SkipOnError, step.Attempts = true, 5
			insertAfter(t, plan, switchplan.Check, d.step("before", "ok"), step)
		}},
		"behind the fence": {state: msha.SetFenced, undone: []string{"un-behind fenced", "un-before open"}, world: func(w *world) { w.mute["c1"] = true },
			insert: func(t *testing.T, d *diary, plan *msha.Plan) {
				insertAfter(t, plan, switchplan.Check, d.step("before", "ok"))
				insertAfter(t, plan, switchplan.Fence, d.step("behind", "ok"))
			}},
		"waiting for a gate": {state: msha.SetOpen, world: func(w *world) { w.clients["unit-2/channel"] = nil }, insert: func(*testing.T, *diary, *msha.Plan) {}},
	} {
		for _, dead := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", its manager is dead"}[dead], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld()
					if tc.world != nil {
						tc.world(w)
					}
					d := &diary{w: w}
					plan := w.plan(t, guangzhou)
					tc.insert(t, d, plan)
					first := &process{world: w, name: "first"}
					running := first.executor(t)
					ended := make(chan error, 1)
					go func() {
						_, err := running.Run(context.Background(), plan)
						ended <- err
					}()
					time.Sleep(2 * time.Second)
					require.Equal(t, tc.state, w.set("guangzhou").State)
					if dead {
						first.cutOff(1, false)
					}
					synctest.Wait()
					did := len(d.done)
					second := (&process{world: w, name: "second"}).knowing(t, plan.Steps...)
					require.NoError(t, second.Abort(t.Context(), plan.ID, "alice", "wrong unit"))
					require.NoError(t, second.Abort(t.Context(), plan.ID, "bob", ""), "it is called off already")
					called := time.Now()
					if dead {
						require.NoError(t, second.Resume(t.Context()))
						require.Less(t, time.Since(called), 4*time.Second, "whoever resumes it does nothing else")
						first.reconnect()
						require.ErrorIs(t, <-ended, msha.ErrBusy)
					} else {
						err := <-ended
						require.Less(t, time.Since(called), 2*time.Second)
						require.ErrorIs(t, err, switchplan.ErrCalledOff)
						require.ErrorContains(t, err, "called off by alice: wrong unit")
					}
					o := w.order(t, plan.ID)
					require.Equal(t, switchplan.StateAborted, o.State)
					require.Equal(t, &switchplan.CallOff{By: "alice", Note: "wrong unit"}, o.CalledOff)
					require.Contains(t, o.Error, "called off by alice")
					require.Equal(t, tc.undone, d.undone())
					require.Len(t, d.done[did:], len(tc.undone), "nobody goes forward after that: %q", d.done)
					s := w.set("guangzhou")
					require.Equal(t, "unit-2", s.Owner)
					require.Equal(t, msha.SetOpen, s.State)
					require.EqualValues(t, 3, s.Term)
					require.NoError(t, second.Abort(t.Context(), plan.ID, "carol", ""), "it is aborted")
				})
			})
		}
	}
}

func TestCallingOffIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		e := (&process{world: w}).executor(t)
		plan := w.plan(t, guangzhou)
		committed := false
		insertAfter(t, plan, switchplan.Commit, msha.Step{Name: "announce", Do: func(ctx context.Context) error {
			require.ErrorIs(t, e.Abort(ctx, plan.ID, "alice", ""), msha.ErrConflict)
			committed = true
			return nil
		}})
		insertAfter(t, plan, switchplan.Check, msha.Step{Name: "early", Do: func(ctx context.Context) error {
			require.ErrorIs(t, e.Abort(ctx, plan.ID, "", ""), msha.ErrInvalid)
			err := e.Abort(ctx, "x", "alice", "")
			require.ErrorIs(t, err, msha.ErrNotFound)
			require.ErrorContains(t, err, plan.ID)
			return nil
		}})
		_, err := e.Run(t.Context(), plan)
		require.NoError(t, err)
		require.True(t, committed)
		err = e.Abort(t.Context(), plan.ID, "alice", "")
		require.ErrorIs(t, err, msha.ErrConflict)
		require.ErrorContains(t, err, "move the routes back")

		// The table knows of a commit before the order does.
		w = newWorld()
		first := &process{world: w, name: "first"}
		plan = w.plan(t, guangzhou)
		_, err = first.executor(t, func(o *switchplan.Options) {
			o.Observer.Phase = func(_, phase string) {
				if phase == switchplan.Commit {
					first.cutOff(1, true)
				}
			}
		}).Run(t.Context(), plan)
		require.ErrorIs(t, err, errDead)
		require.Equal(t, switchplan.StateRunning, w.order(t, plan.ID).State)
		require.ErrorIs(t, (&process{world: w}).executor(t).Abort(t.Context(), plan.ID, "alice", ""), msha.ErrConflict)

		p := &process{world: w}
		p.turnsUnsafe()
		require.ErrorIs(t, p.executor(t).Abort(t.Context(), plan.ID, "alice", ""), msha.ErrUnsafe)
	})
}

// hungCommit is a table store whose commit is stored, and answers when its caller gives up.
type hungCommit struct{ *process }

func (h hungCommit) Update(ctx context.Context, edit func(*msha.Table) (*msha.Table, error)) (*msha.Table, error) {
	commits := h.commits
	t, err := h.process.Update(ctx, edit)
	if h.commits > commits {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return t, err
}

// Who calls a switch off while it commits has asked too late, or in time; nothing in between.
func TestCalledOffDuringTheCommit(t *testing.T) {
	for name, hangs := range map[string]bool{"the commit goes on": false, "the commit hangs": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				d := &diary{w: w}
				p, other := &process{world: w}, (&process{world: w, name: "other"}).executor(t)
				plan := w.plan(t, guangzhou)
				insertAfter(t, plan, switchplan.Drain, d.step("freeze", "ok"))
				report, err := p.executor(t, func(o *switchplan.Options) {
					if hangs {
						o.Tables = hungCommit{p}
					}
					o.Observer.Phase = func(_, phase string) {
						if phase == switchplan.Commit {
							require.NoError(t, other.Abort(t.Context(), plan.ID, "alice", ""))
						}
					}
				}).Run(t.Context(), plan)
				require.NoError(t, err)
				require.Equal(t, switchplan.StateDone, report.State)
				require.Equal(t, "unit-1", w.set("guangzhou").Owner)
				require.Empty(t, d.undone())
				o := w.order(t, plan.ID)
				require.Equal(t, switchplan.StateDone, o.State)
				require.Equal(t, "alice", o.CalledOff.By)
				require.Empty(t, o.Error)
			})
		})
	}
}

// An executor whose compensation takes long shows that it is alive: nobody takes the order from it.
func TestALongCompensationIsLeftAlone(t *testing.T) {
	for name, cancelled := range map[string]bool{"a step fails": false, "the caller goes away": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				d := &diary{w: w}
				slow := d.step("slow", "ok")
				slow.Timeout = time.Minute
				slow.Undo = func(context.Context) error { d.note("un-slow"); time.Sleep(30 * time.Second); return nil }
				plan := w.plan(t, guangzhou)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				insertAfter(t, plan, switchplan.Drain, slow, msha.Step{Name: "ends", Do: func(context.Context) error {
					if cancelled {
						cancel()
						return nil
					}
					return errors.New("no luck")
				}})
				ended := make(chan error, 1)
				go func() {
					_, err := (&process{world: w, name: "first"}).executor(t).Run(ctx, plan)
					ended <- err
				}()
				time.Sleep(time.Second)
				second := (&process{world: w, name: "second"}).knowing(t, slow)
				for range 5 {
					require.NoError(t, second.Resume(t.Context()))
				}
				require.ErrorIs(t, <-ended, msha.ErrAborted)
				require.Equal(t, []string{"un-slow fenced"}, d.undone())
				require.Equal(t, switchplan.StateAborted, w.order(t, plan.ID).State)
			})
		})
	}
}
