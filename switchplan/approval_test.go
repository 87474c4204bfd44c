package switchplan_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

func TestApproval(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(ctx context.Context, other *switchplan.Executor, id string) error
		after  string // phase the step comes after
		err    error
		says   string
	}{
		{name: "approved", after: switchplan.Check, answer: func(ctx context.Context, other *switchplan.Executor, id string) error {
			return errors.Join(other.Approve(ctx, id, "approve", "alice", "maintenance"), other.Approve(ctx, id, "approve", "bob", ""))
		}},
		{name: "refused", after: switchplan.Check, err: switchplan.ErrRefused, says: "refused by alice: not today", answer: func(ctx context.Context, other *switchplan.Executor, id string) error {
			return other.Refuse(ctx, id, "approve", "alice", "not today")
		}},
		{name: "nobody", after: switchplan.Check, err: context.DeadlineExceeded, says: "in time"},
		{name: "nobody, and it holds the fence", after: switchplan.Drain, err: context.DeadlineExceeded, says: "deadline of the fence"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				plan := w.plan(t, guangzhou)
				insertAfter(t, plan, tc.after, switchplan.Approval("approve", 10*time.Minute))
				first, other := (&process{world: w, name: "first"}).executor(t), (&process{world: w, name: "other"}).executor(t)
				begun := time.Now()
				answered := make(chan error, 1)
				go func() {
					time.Sleep(5 * time.Minute)
					if tc.after == switchplan.Check && w.set("guangzhou").State != msha.SetOpen {
						t.Error("an approval before the fence holds a fence")
					}
					if tc.answer == nil {
						answered <- nil
						return
					}
					answered <- tc.answer(t.Context(), other, plan.ID)
				}()
				report, err := first.Run(t.Context(), plan)
				took := time.Since(begun).Round(time.Minute)
				if answerErr := <-answered; answerErr != nil {
					t.Fatal(answerErr)
				}
				order := w.order(t, plan.ID)
				if tc.err == nil {
					want := []switchplan.Decision{{Step: "approve", Approved: true, By: "alice", Note: "maintenance"}}
					if err != nil || w.set("guangzhou").Owner != "unit-1" || !slices.Equal(order.Decisions, want) || !slices.Equal(report.Decisions, want) {
						t.Fatalf("%v, order %+v, report %s", err, order, report)
					}
					if note := phase(report, "approve").Note; note != "approved by alice: maintenance" || took != 5*time.Minute {
						t.Fatalf("note %q after %s", note, took)
					}
					return
				}
				if !errors.Is(err, tc.err) || !errors.Is(err, msha.ErrAborted) || !strings.Contains(err.Error(), tc.says) || order.State != switchplan.StateAborted {
					t.Fatalf("error %v, order %+v", err, order)
				}
				if s := w.set("guangzhou"); s.Owner != "unit-2" || s.State != msha.SetOpen {
					t.Fatalf("set %+v", s)
				}
				if err := other.Approve(t.Context(), plan.ID, "approve", "bob", ""); !errors.Is(err, msha.ErrInvalid) && !errors.Is(err, msha.ErrConflict) {
					t.Fatalf("approved after the end: %v", err)
				}
			})
		})
	}
}

// TestApprovalAcrossManagers: the answer outlives the manager that asked, and may come before its step.
func TestApprovalAcrossManagers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		plan := w.plan(t, guangzhou)
		insertAfter(t, plan, switchplan.Check, switchplan.Approval("operator", time.Hour), switchplan.Approval("owner", time.Hour))
		first, second := &process{world: w, name: "first"}, (&process{world: w, name: "second"}).executor(t)
		died := make(chan error)
		go func() {
			_, err := first.executor(t).Run(t.Context(), plan)
			died <- err
		}()
		time.Sleep(time.Minute) // it beats meanwhile: a beat must not undo the answer
		for what, err := range map[string]error{
			"nobody": second.Approve(t.Context(), plan.ID, "operator", "", ""), "no such step": second.Approve(t.Context(), plan.ID, "drain", "bob", ""),
			"no such order": second.Approve(t.Context(), "x", "operator", "bob", ""),
		} {
			if err == nil || what == "no such step" && !strings.Contains(err.Error(), "operator, owner") || what == "no such order" && !strings.Contains(err.Error(), plan.ID) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := second.Approve(t.Context(), plan.ID, "owner", "carol", ""); err != nil {
			t.Fatal(err)
		}
		if err := second.Refuse(t.Context(), plan.ID, "owner", "dave", ""); !errors.Is(err, msha.ErrConflict) || !strings.Contains(err.Error(), "approved by carol") {
			t.Fatalf("two answers: %v", err)
		}
		time.Sleep(time.Minute)
		w.mu.Lock()
		first.killAt, first.calls = 1, 1
		w.mu.Unlock()
		resumed := make(chan error)
		go func() { resumed <- second.Resume(t.Context()) }()
		time.Sleep(time.Minute)
		if err := second.Approve(t.Context(), plan.ID, "operator", "bob", ""); err != nil {
			t.Fatal(err)
		}
		if err := <-resumed; err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		first.killAt = 0
		w.mu.Unlock()
		if err := <-died; !errors.Is(err, msha.ErrBusy) {
			t.Fatalf("the first manager: %v", err)
		}
		if o := w.order(t, plan.ID); o.State != switchplan.StateDone || len(o.Decisions) != 2 || w.set("guangzhou").Owner != "unit-1" || w.commits != 1 {
			t.Fatalf("order %+v, %d commits", o, w.commits)
		}
	})
}
