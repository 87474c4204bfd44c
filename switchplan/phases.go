package switchplan

import (
	"slices"
	"strings"

	"github.com/go-msha/msha"
)

// The phases of a switch, in order; the log numbers them 1 to 7.
const (
	Check    = "check"     // validate against the current table; dry-run report
	Fence    = "fence"     // one compare-and-set: the old owner starts no more messages of the routes
	Drain    = "drain"     // the old owner's agents finish, publish their facts and acknowledge
	Confirm  = "confirm"   // every member of the roster acknowledged, or is gone; no unknown client takes part
	HandOver = "hand over" // what remains is written to the new owner's log
	Commit   = "commit"    // one compare-and-set: new owner, next term. The only point of no return
	TakeOver = "take over" // the new owner's agents process what remained
)

var phases = []string{Check, Fence, Drain, Confirm, HandOver, Commit, TakeOver}

// Phases lists the phase names in order.
func Phases() []string { return slices.Clone(phases) }

// Number is the number of a phase in the log, 1 to 7; 0 for a user's own step.
func Number(phase string) int { return slices.Index(phases, phase) + 1 }

// InsertAfter puts a user's step directly behind a phase, or behind an earlier inserted step. A step that fails, or exceeds its
// timeout, before the commit aborts the switch: the steps that had run are undone in reverse order, as the package says. After the
// commit nothing is undone; the error is returned with the report. ErrNotFound names the steps of the plan; ErrInvalid for a step without name or
// Do, or with a name already taken.
func InsertAfter(plan *msha.Plan, phase string, step msha.Step) error {
	return insert(plan, phase, step, 1)
}

// InsertBefore is InsertAfter in front of a phase or step. Nothing can be inserted before Check.
func InsertBefore(plan *msha.Plan, phase string, step msha.Step) error {
	if phase == Check {
		return msha.Errorf("switch.insert", step.Name, "insert it after "+Check, "%w: %s is always the first phase", msha.ErrInvalid, Check)
	}
	return insert(plan, phase, step, 0)
}

func insert(plan *msha.Plan, phase string, step msha.Step, delta int) error {
	problems := stepProblems(step)
	if step.Do == nil && step.Kind != msha.StepApproval {
		problems = append(problems, "nothing to do")
	}
	if len(problems) > 0 {
		return msha.Errorf("switch.insert", step.Name, "give it a Name and Do", "%w: %s", msha.ErrInvalid, strings.Join(problems, "; "))
	}
	at, names := -1, make([]string, len(plan.Steps))
	for i, s := range plan.Steps {
		names[i] = s.Name
		if s.Name == step.Name {
			return msha.Errorf("switch.insert", step.Name, "give every step its own name", "%w: the plan already has a step of this name", msha.ErrInvalid)
		}
		if s.Name == phase {
			at = i
		}
	}
	if at < 0 {
		return msha.Errorf("switch.insert", phase, "steps of the plan: "+strings.Join(names, ", "), "step %w", msha.ErrNotFound)
	}
	plan.Steps = slices.Insert(plan.Steps, at+delta, step)
	return nil
}
