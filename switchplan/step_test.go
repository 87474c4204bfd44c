package switchplan_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// diary is what steps did, with the state the routes were in.
type diary struct {
	w    *world
	mu   sync.Mutex // a step that is stuck and its compensation may run side by side
	done []string
}

func (d *diary) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = append(d.done, what+" "+string(d.w.set("guangzhou").State))
}

// step does what do says in each of its attempts, the last of them repeated: ok, error, timeout, stuck, skip.
func (d *diary) step(name string, do ...string) msha.Step {
	attempt := 0
	act := func(ctx context.Context) error {
		what := do[min(attempt, len(do)-1)]
		attempt++
		d.note(name)
		switch what {
		case "error":
			return errors.New("no luck")
		case "timeout":
			<-ctx.Done()
			return ctx.Err()
		case "stuck":
			time.Sleep(time.Minute)
		}
		return nil
	}
	s := msha.Step{Name: name, Do: act, Timeout: time.Second, Undo: func(context.Context) error { d.note("un-" + name); return nil }}
	if do[0] == "skip" {
		s.Skip = func(context.Context) (string, error) { return "not needed today", nil }
	}
	return s
}

func phase(r *switchplan.Report, name string) switchplan.PhaseResult {
	i := slices.IndexFunc(r.Phases, func(p switchplan.PhaseResult) bool { return p.Phase == name })
	if i < 0 {
		return switchplan.PhaseResult{}
	}
	return r.Phases[i]
}

func insertAfter(t *testing.T, plan *msha.Plan, phase string, steps ...msha.Step) {
	t.Helper()
	for _, s := range slices.Backward(steps) {
		if err := switchplan.InsertAfter(plan, phase, s); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUndoOrder: steps behind the fence are undone while the routes are still fenced, then the routes reopen, then the steps before the
// fence are undone. Steps before the fence hold none.
func TestUndoOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d := &diary{w: w}
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Check, d.step("a", "ok"), d.step("b", "ok"))
		insertAfter(t, plan, switchplan.Drain, d.step("c", "ok"))
		insertAfter(t, plan, switchplan.HandOver, d.step("d", "ok"), d.step("e", "error"), d.step("f", "ok"))
		report, err := (&process{world: w}).executor(t).Run(t.Context(), plan)
		want := []string{"a open", "b open", "c fenced", "d fenced", "e fenced", "un-d fenced", "un-c fenced", "un-b open", "un-a open"}
		if !errors.Is(err, msha.ErrAborted) || !slices.Equal(d.done, want) || report.State != switchplan.StateAborted {
			t.Fatalf("%v, report %s\n%q", err, report, d.done)
		}
	})
}

func TestRetryAndSkip(t *testing.T) {
	for _, tc := range []struct {
		name     string
		do       []string
		edit     func(*msha.Step)
		attempts int    // of the step, in the report
		skipped  string // why
		takes    time.Duration
		undone   bool // if a later step fails
		fails    string
	}{
		{name: "third attempt", do: []string{"error", "error", "ok"}, attempts: 3, takes: 10 * time.Second, undone: true},
		{name: "last attempt fails", do: []string{"error"}, fails: "no luck", takes: 10 * time.Second},
		{name: "last attempt fails, skipped", do: []string{"error"}, edit: func(s *msha.Step) { s.SkipOnError = true }, attempts: 3, skipped: "no luck", takes: 10 * time.Second},
		{name: "interrupted, then fails", do: []string{"timeout", "error"}, fails: "no luck", takes: 11 * time.Second, undone: true},
		{name: "interrupted and skipped", do: []string{"timeout"}, edit: func(s *msha.Step) { s.SkipOnError = true }, attempts: 3, skipped: "deadline exceeded", takes: 13 * time.Second, undone: true},
		{name: "condition", do: []string{"skip"}, skipped: "not needed today"},
		{name: "condition fails", do: []string{"ok"}, edit: func(s *msha.Step) {
			s.Skip = func(context.Context) (string, error) { return "", errors.New("cannot tell") }
		}, fails: "cannot tell"},
		{name: "never twice at once", do: []string{"stuck", "ok"}, fails: "still runs", takes: 2 * time.Second, undone: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				d := &diary{w: w}
				step := d.step("freeze", tc.do...)
				step.Attempts, step.Pause = 3, 5*time.Second
				if tc.edit != nil {
					tc.edit(&step)
				}
				plan := w.plan(t, guangzhou)
				insertAfter(t, plan, switchplan.Check, step, d.step("doomed", "error"))
				begun := time.Now()
				report, err := (&process{world: w}).executor(t).Run(t.Context(), plan)
				says := tc.fails
				if says == "" {
					says = "switch.step doomed"
				}
				if !errors.Is(err, msha.ErrAborted) || !strings.Contains(err.Error(), says) {
					t.Fatalf("error %v, want %q", err, says)
				}
				got := phase(report, "freeze")
				if got.Attempts != tc.attempts || (got.Skipped == "") != (tc.skipped == "") || !strings.Contains(got.Skipped, tc.skipped) {
					t.Errorf("result %+v", got)
				}
				if took := time.Since(begun).Round(time.Second); took != tc.takes {
					t.Errorf("took %s, want %s", took, tc.takes)
				}
				if slices.Contains(d.done, "un-freeze open") != tc.undone {
					t.Errorf("undone, want %t: %q", tc.undone, d.done)
				}
				if answer := report.Answer(); slices.Contains(answer.Retried, "freeze") != (tc.attempts > 1) || slices.Contains(answer.Skipped, "freeze") != (tc.skipped != "") {
					t.Errorf("answer %+v", answer)
				}
				time.Sleep(time.Hour) // a step that is stuck ends
			})
		})
	}
}

// TestStepThatWasInterruptedWithItsManager: nobody knows how far it came, so another manager repeats it, and undoes it if that fails.
func TestStepThatWasInterruptedWithItsManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d := &diary{w: w}
		first := &process{world: w, name: "first"}
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Check, msha.Step{Name: "freeze", Do: func(context.Context) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			first.killAt, first.calls = 1, 1
			return nil
		}})
		if _, err := first.executor(t).Run(t.Context(), plan); !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		second := (&process{world: w, name: "second"}).executor(t, func(o *switchplan.Options) {
			o.Steps = map[string]msha.Step{"freeze": d.step("freeze", "error")}
		})
		if err := second.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(d.done); got != "[freeze open un-freeze open]" || w.order(t, plan.ID).State != switchplan.StateAborted {
			t.Fatalf("%s, order %+v", got, w.order(t, plan.ID))
		}
	})
}

// TestLongStepsBeforeTheFence: who was there at the check may have died while a step ran.
func TestLongStepsBeforeTheFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Check, msha.Step{Name: "think", Do: func(context.Context) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.clients["unit-1/channel"] = nil
			return nil
		}})
		_, err := (&process{world: w}).executor(t).Run(t.Context(), plan)
		if !errors.Is(err, msha.ErrGuard) || !errors.Is(err, msha.ErrAborted) || w.set("guangzhou").State != msha.SetOpen || w.table.Version != 7 {
			t.Fatalf("%v, table %d", err, w.table.Version)
		}
	})
}
