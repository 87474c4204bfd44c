package switchplan_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

var guangzhou = msha.SwitchRequest{Values: []string{"guangzhou"}}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.pending = 100
		plan := w.plan(t, guangzhou)
		var phases []string
		e := (&process{world: w}).executor(t, func(o *switchplan.Options) {
			o.Observer.Phase = func(_, phase string) { phases = append(phases, phase) }
		})
		report, err := e.Run(context.Background(), plan)
		if err != nil {
			t.Fatal(err)
		}
		if report.Task != plan.ID || !slices.Equal(report.Moved, []string{"guangzhou"}) || report.TakenOver != 100 || report.Pending != 0 || len(report.Phases) != 7 {
			t.Fatalf("report %+v", report)
		}
		if !slices.Equal(phases, switchplan.Phases()) {
			t.Fatalf("phases %v", phases)
		}
		if s := w.set("guangzhou"); s.Owner != "unit-1" || s.Term != 4 || w.handed["unit-1/"+s.ID+"/"+s.RemainingHash] != "unit-2" {
			t.Fatalf("set %+v, handed over %v", s, w.handed)
		}
		if s := w.set("shenzhen"); s.ID != "b" || s.Owner != "unit-2" || s.Term != 3 || s.State != msha.SetOpen {
			t.Fatalf("the rest of the set moved too: %+v", s)
		}
		if o := w.order(t, plan.ID); o.State != switchplan.StateDone {
			t.Fatalf("order %+v", o)
		}
		for n := 1; n <= 7; n++ {
			if line := fmt.Sprintf(`msg="Process MSHA route switch: task=%s, phase=%d"`, plan.ID, n); strings.Count(w.log.String(), line) != 1 {
				t.Errorf("log lacks %s:\n%s", line, w.log.String())
			}
		}
		if !strings.Contains(w.log.String(), `msg="Complete process MSHA route switch: task=`+plan.ID+`"`) {
			t.Errorf("log:\n%s", w.log.String())
		}
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(plan.ID) {
			t.Errorf("task id %q", plan.ID)
		}
		if _, err := e.Run(context.Background(), plan); !errors.Is(err, msha.ErrInvalid) {
			t.Errorf("second run of a plan: %v", err)
		}
	})
}

// A write of the order makes the pause longer: there are only two between the fence and the commit.
func TestFewWritesOfTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		if _, err := (&process{world: w}).executor(t).Run(context.Background(), w.plan(t, guangzhou)); err != nil {
			t.Fatal(err)
		}
		if writes, most := int(w.revs[msha.SwitchKey]), len([]string{"the order", switchplan.Check, switchplan.Fence, switchplan.HandOver, switchplan.Commit, switchplan.TakeOver}); writes > most {
			t.Fatalf("%d writes, at most %d are needed", writes, most)
		}
	})
}

func TestAnUnsafeStoreRefusesToSwitch(t *testing.T) {
	w := newWorld()
	p := &process{world: w}
	p.turnsUnsafe()
	plan := w.plan(t, guangzhou)
	_, err := p.executor(t).Run(context.Background(), plan)
	if !errors.Is(err, msha.ErrUnsafe) || !strings.Contains(err.Error(), "compare-and-set is ignored") {
		t.Fatalf("error %v", err)
	}
	if s := w.set("guangzhou"); s.State != msha.SetOpen || s.Owner != "unit-2" || w.order(t, plan.ID).ID != "" {
		t.Fatalf("something was begun: %+v, order %+v", s, w.order(t, plan.ID))
	}
}

func TestAStoreThatTurnsOutUnsafeAbortsTheSwitch(t *testing.T) {
	for at, phase := range switchplan.Phases() {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			p := &process{world: w}
			plan := w.plan(t, guangzhou)
			_, err := p.executor(t, func(o *switchplan.Options) {
				o.Observer.Phase = func(_, begun string) {
					if begun == phase {
						p.turnsUnsafe()
					}
				}
			}).Run(context.Background(), plan)
			s := w.set("guangzhou")
			if at < switchplan.Number(switchplan.Commit) {
				if !errors.Is(err, msha.ErrUnsafe) || errors.Is(err, msha.ErrAborted) != (at > 0) || s.Owner != "unit-2" || s.Term != 3 || s.State != msha.SetOpen {
					t.Fatalf("%s: error %v, set %+v", phase, err, s)
				}
			} else if err != nil || s.Owner != "unit-1" {
				t.Fatalf("%s: what is committed goes on: error %v, set %+v", phase, err, s)
			}
		})
	}
}

// suspicious is a table store of which a read in a phase shows that the server lost accepted writes.
type suspicious struct {
	*process
	phase string
	now   atomic.Value // the phase that runs
}

func (s *suspicious) Update(ctx context.Context, edit func(*msha.Table) (*msha.Table, error)) (*msha.Table, error) {
	return s.process.Update(ctx, func(t *msha.Table) (*msha.Table, error) {
		if s.now.Load() == s.phase {
			s.turnsUnsafe()
		}
		return edit(t)
	})
}

func TestNothingIsCommittedThatAReadOfTheSamePhaseMadeDoubtful(t *testing.T) {
	w := newWorld()
	s := &suspicious{process: &process{world: w}, phase: switchplan.Commit}
	_, err := s.executor(t, func(o *switchplan.Options) {
		o.Tables = s
		o.Observer.Phase = func(_, begun string) { s.now.Store(begun) }
	}).Run(context.Background(), w.plan(t, guangzhou))
	if set := w.set("guangzhou"); !errors.Is(err, msha.ErrUnsafe) || !errors.Is(err, msha.ErrAborted) || set.Owner != "unit-2" || set.State != msha.SetOpen || w.commits != 0 {
		t.Fatalf("error %v, set %+v, %d commits", err, set, w.commits)
	}
}

// TestKilled kills a manager at each of its calls, before and after the call's effect, and lets another one resume.
func TestKilled(t *testing.T) {
	committed, aborted := 0, 0
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			reached := true
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				plan := w.plan(t, guangzhou)
				first := &process{world: w, name: "first", killAt: at, after: after}
				_, err := first.executor(t).Run(context.Background(), plan)
				if first.calls < at {
					reached = false
					return
				}
				second := (&process{world: w, name: "second"}).executor(t)
				for range 5 { // an orphaned fence needs its deadline to pass
					if err := second.Resume(context.Background()); err != nil {
						t.Fatalf("kill at %d (after %v): resume: %v", at, after, err)
					}
					time.Sleep(6 * time.Second)
				}
				o, s := w.order(t, plan.ID), w.set("guangzhou")
				switch {
				case s.State == msha.SetOpen && s.Owner == "unit-1" && s.Term == 4 && w.commits == 1 && o.State == switchplan.StateDone:
					if w.handed["unit-1/"+s.ID+"/"+s.RemainingHash] != "unit-2" {
						t.Fatalf("kill at %d (after %v): nothing handed over: %v", at, after, w.handed)
					}
					committed++
				case s.State == msha.SetOpen && s.Owner == "unit-2" && s.Term == 3 && w.commits == 0 && (o.State == switchplan.StateAborted || o.ID == ""):
					aborted++
				default:
					t.Fatalf("kill at %d (after %v): stuck: order %+v, set %+v, %d commits, run said %v", at, after, o, s, w.commits, err)
				}
			})
			if !reached {
				break
			}
		}
	}
	t.Logf("%d ended committed, %d aborted", committed, aborted)
	if committed < 10 || aborted == 0 {
		t.Fatalf("%d ended committed, %d aborted: want both", committed, aborted)
	}
}

func TestNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.mute["c2"] = true
		plan := w.plan(t, guangzhou)
		e := (&process{world: w}).executor(t)
		start := time.Now()
		_, err := e.Run(context.Background(), plan)
		if !errors.Is(err, msha.ErrAborted) || !errors.Is(err, msha.ErrNotConfirmed) || !strings.Contains(err.Error(), "c2") || strings.Contains(err.Error(), "c1") {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("aborted after %s", took)
		}
		if s := w.set("guangzhou"); s.Owner != "unit-2" || s.Term != 3 || s.State != msha.SetOpen {
			t.Fatalf("set %+v", s)
		}
		if o := w.order(t, plan.ID); o.State != switchplan.StateAborted {
			t.Fatalf("order %+v", o)
		}
		// The same values can move once the agent answers.
		delete(w.mute, "c2")
		if _, err := e.Run(context.Background(), w.plan(t, guangzhou)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDeadMemberWaitsForItsGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.clients["unit-2/channel"] = []string{"c1"} // c2 was killed
		start := time.Now()
		report, err := (&process{world: w}).executor(t).Run(context.Background(), w.plan(t, guangzhou))
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 30*time.Second || took > 31*time.Second {
			t.Fatalf("waited %s", took)
		}
		if report.Pause > time.Second {
			t.Fatalf("paused %s for a process that was dead before", report.Pause)
		}
		if len(w.roster.Members) != 2 || !strings.Contains(report.Phases[3].Note, "c2") {
			t.Fatalf("roster %v, report %+v: the dead member must be named and taken out", w.roster, report)
		}
	})
}

func TestUnmanagedClient(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.clients["unit-2/channel"] = append(w.clients["unit-2/channel"], "plain")
			w.mute["plain"] = true
			req := guangzhou
			if allowed {
				req.AllowUnmanaged = []string{"channel"}
			}
			plan := w.plan(t, req)
			_, err := (&process{world: w}).executor(t).Run(context.Background(), plan)
			if !allowed {
				if !errors.Is(err, msha.ErrUnmanaged) || errors.Is(err, msha.ErrAborted) || !strings.Contains(err.Error(), "plain in group channel") {
					t.Fatal(err)
				}
				return
			}
			if o := w.order(t, plan.ID); err != nil || !slices.Equal(o.Override, []string{"allow-unmanaged=channel"}) {
				t.Fatalf("%v, order %+v", err, o)
			}
		})
	}
}

func TestUserSteps(t *testing.T) {
	for _, fail := range []string{"", "error", "panic", "timeout", "after commit"} {
		t.Run(fail, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				plan := w.plan(t, guangzhou)
				var did []string
				step := func(name string) msha.Step {
					note := func(what string) func(context.Context) error {
						return func(ctx context.Context) error {
							did = append(did, what+name)
							switch {
							case what == "" && name == "approve" && fail == "error", name == "announce" && fail == "after commit":
								return errors.New("refused")
							case what == "" && name == "approve" && fail == "panic":
								panic("boom")
							case what == "" && name == "approve" && fail == "timeout":
								<-ctx.Done()
								return ctx.Err()
							}
							return nil
						}
					}
					return msha.Step{Name: name, Do: note(""), Undo: note("un-"), Timeout: time.Second}
				}
				for _, insert := range []error{
					switchplan.InsertBefore(plan, switchplan.Fence, step("tell")),
					switchplan.InsertAfter(plan, switchplan.Drain, step("freeze")),
					switchplan.InsertBefore(plan, switchplan.Commit, step("approve")),
					switchplan.InsertAfter(plan, switchplan.Commit, step("announce")),
				} {
					if insert != nil {
						t.Fatal(insert)
					}
				}
				_, err := (&process{world: w}).executor(t).Run(context.Background(), plan)
				want := map[string]string{
					"": "tell freeze approve announce", "after commit": "tell freeze approve announce",
					"error": "tell freeze approve un-freeze un-tell", "panic": "tell freeze approve un-freeze un-tell",
					"timeout": "tell freeze approve un-approve un-freeze un-tell",
				}[fail]
				if got := strings.Join(did, " "); got != want {
					t.Errorf("did %q, want %q", got, want)
				}
				if moved := w.set("guangzhou").Owner == "unit-1"; moved != (fail == "" || fail == "after commit") {
					t.Errorf("moved: %v", moved)
				}
				if (err == nil) != (fail == "") || errors.Is(err, msha.ErrAborted) == (fail == "" || fail == "after commit") {
					t.Errorf("error %v", err)
				}
				if fail == "timeout" && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				if s := w.set("guangzhou"); s.State != msha.SetOpen {
					t.Errorf("set %+v", s)
				}
			})
		})
	}
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		plan, same, other := w.plan(t, guangzhou), w.plan(t, msha.SwitchRequest{From: "unit-2"}), w.plan(t, msha.SwitchRequest{Values: []string{"shenzhen"}})
		e := (&process{world: w}).executor(t)
		inside, release := make(chan struct{}), make(chan struct{})
		err := switchplan.InsertAfter(plan, switchplan.Check, msha.Step{Name: "hold", Do: func(context.Context) error {
			close(inside)
			<-release
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := e.Run(context.Background(), plan)
			done <- err
		}()
		<-inside
		_, err = (&process{world: w}).executor(t).Run(context.Background(), same)
		if !errors.Is(err, msha.ErrBusy) || errors.Is(err, msha.ErrAborted) || !strings.Contains(err.Error(), plan.ID) {
			t.Fatalf("overlapping switch: %v", err)
		}
		if _, err := (&process{world: w}).executor(t).Run(context.Background(), other); err != nil {
			t.Fatalf("switch of another value: %v", err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if a, b := w.set("guangzhou"), w.set("shenzhen"); a.Owner != "unit-1" || b.Owner != "unit-1" || a.ID == b.ID {
			t.Fatalf("sets %+v, %+v", a, b)
		}
	})
}

// TestFrozen: a manager sleeps through its fence's deadline; another one takes the order over; the sleeper must not commit.
func TestFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		plan := w.plan(t, guangzhou)
		first := &process{world: w, name: "first"}
		err := switchplan.InsertBefore(plan, switchplan.Commit, msha.Step{Name: "freeze", Timeout: time.Hour, Do: func(context.Context) error {
			second := (&process{world: w, name: "second"}).executor(t, func(o *switchplan.Options) { o.ResumeAfter = time.Millisecond })
			w.mu.Lock()
			first.killAt, first.calls = 1, 1 // its beats stop
			w.mu.Unlock()
			if err := second.Resume(context.Background()); err != nil { // aborts: it does not know the step
				t.Error(err)
			}
			w.mu.Lock()
			first.killAt = 0
			w.mu.Unlock()
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = first.executor(t).Run(context.Background(), plan)
		if !errors.Is(err, msha.ErrBusy) {
			t.Fatal(err)
		}
		if s := w.set("guangzhou"); s.Owner != "unit-2" || s.State != msha.SetOpen || w.commits != 0 {
			t.Fatalf("set %+v, %d commits", s, w.commits)
		}
	})
}

func TestOptions(t *testing.T) {
	_, err := switchplan.New(nil)
	for _, field := range []string{"Store", "Tables", "Edits", "Registry", "Cluster", "Facts"} {
		if !errors.Is(err, msha.ErrInvalid) || !strings.Contains(err.Error(), "Options."+field) {
			t.Errorf("%s not named: %v", field, err)
		}
	}
	e := (&process{world: newWorld()}).executor(t)
	if _, err := e.Run(context.Background(), nil); !errors.Is(err, msha.ErrInvalid) {
		t.Errorf("nil plan: %v", err)
	}
}
