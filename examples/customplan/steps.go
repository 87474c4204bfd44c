package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// Names of the steps, and of the approval.
const (
	stepApprove = "approve"
	stepDrain   = "drain-gateway"
	stepFreeze  = "freeze-db"
	stepThaw    = "thaw-db"
)

var stepNames = []string{stepDrain, stepFreeze, stepThaw}

// done and undone say what a step has done.
var (
	done = map[string]string{
		stepDrain:  "unit-2's gateway is drained, its clients go to unit-1's",
		stepFreeze: "unit-2's database refuses writes",
		stepThaw:   "unit-2's database takes writes again",
	}
	undone = map[string]string{
		stepDrain:  "unit-2's gateway is open again",
		stepFreeze: "unit-2's database takes writes again",
	}
)

var errWanted = errors.New("it was told to fail")

// steps are the plan's own, and the phase or step each comes after:
//
//	check, approve, drain-gateway, fence, drain, freeze-db, confirm, hand over, commit, thaw-db, take over
//
// The approval comes before the fence, so nobody waits for people while routes are held. The database is frozen when the old owner has
// finished its work, and only while the routes are in nobody's hands.
func (s *story) steps() (steps []msha.Step, after []string) {
	from, db := s.units["unit-2"].gateway, s.units["unit-2"].database
	steps = []msha.Step{
		switchplan.Approval(stepApprove, time.Minute),
		{
			Name: stepDrain, Timeout: 5 * time.Second,
			Do:   s.step(stepDrain, func() error { from.drain(); return nil }),
			Undo: func(context.Context) error { from.open(); return nil },
		},
		{
			Name: stepFreeze, Timeout: time.Second, Attempts: 3, Pause: 50 * time.Millisecond,
			Do:   s.step(stepFreeze, db.freeze),
			Undo: func(context.Context) error { db.thaw(); return nil },
		},
		{
			Name: stepThaw, Timeout: time.Second,
			Do: s.step(stepThaw, func() error { db.thaw(); return nil }),
		},
	}
	return steps, []string{switchplan.Check, stepApprove, switchplan.Drain, switchplan.Commit}
}

// step does what it is for, unless it was told to fail. It may be called again: by a retry, and by another manager if this one dies.
func (s *story) step(name string, do func() error) func(context.Context) error {
	return func(context.Context) error {
		if s.config.fail == name {
			return errWanted
		}
		return do()
	}
}

// follow prints what happens in switches and answers the approval, until the events end.
func (s *story) follow(ctx context.Context, events <-chan switchplan.Event) {
	for e := range events {
		switch e.Kind {
		case switchplan.EventBegun:
			s.say("   switch %s of %v begins", e.Task, e.Moved)
		case switchplan.EventPhase:
			s.say("   %s …", e.Phase)
		case switchplan.EventRetry:
			s.say("   %s failed, %s: %s", e.Phase, e.Text, e.Error)
		case switchplan.EventPhaseEnded:
			if e.Error != "" {
				s.say("   %s failed: %s", e.Phase, e.Error)
			} else if what := done[e.Phase]; what != "" {
				s.say("   %s: %s", e.Phase, what)
			}
		case switchplan.EventUndo:
			s.say("   undo %s: %s", e.Phase, undone[e.Phase])
		case switchplan.EventReopened:
			s.say("   the routes are open again in unit-2")
		case switchplan.EventApproval:
			s.answer(ctx, e)
		case switchplan.EventDropped:
			s.say("   (some lines are missing: %s)", e.Text)
		}
	}
}

// answer stands for the operator who would send POST /orders/<task>/approve?step=approve.
func (s *story) answer(ctx context.Context, e switchplan.Event) {
	decide, what := s.manager.Approve, "approved"
	if s.config.refuse {
		decide, what = s.manager.Refuse, "refused"
	}
	s.say("   %s: approval needed, %s", e.Phase, e.Text)
	if err := decide(ctx, e.Task, e.Phase, "the night shift", "as planned"); err != nil {
		s.say("   %s: %v", e.Phase, err)
		return
	}
	s.say("   %s: %s by the night shift", e.Phase, what)
}

// status is how a switch ended.
func status(err error) int {
	switch {
	case err == nil:
		return moved
	case errors.Is(err, switchplan.ErrRefused):
		return refused
	case errors.Is(err, msha.ErrAborted) && errors.Is(err, errWanted):
		return rolledBack
	case errors.Is(err, errWanted):
		return movedBadly
	}
	return broken
}

func ending(status int) string {
	return map[int]string{
		moved: "the routes moved", refused: "the approval was refused", rolledBack: "rolled back",
		movedBadly: "the routes moved, but a step behind the commit failed: repair by hand", broken: "broken",
	}[status] + fmt.Sprintf(" (exit status %d)", status)
}
