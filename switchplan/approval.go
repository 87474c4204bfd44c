package switchplan

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-msha/msha"
)

// ErrRefused is the cause of an abort that somebody wanted: an approval was refused.
var ErrRefused = errors.New("not approved")

// Decision is the answer to an approval, kept in the work order.
type Decision struct {
	Step     string `json:"step"`
	Approved bool   `json:"approved"`
	By       string `json:"by"`
	Note     string `json:"note,omitempty"`
}

// String is "approved by alice: note".
func (d Decision) String() string {
	s := "refused by " + d.By
	if d.Approved {
		s = "approved by " + d.By
	}
	if d.Note != "" {
		s += ": " + d.Note
	}
	return s
}

// Approval is a step that waits until somebody approves it (Executor.Approve, by any manager). A refusal aborts the switch, and so does
// the timeout, which counts anew in a manager that resumes the order. Insert it before Fence: the routes work on while people think. Behind
// Fence it holds the fence, and the fence's deadline ends it.
func Approval(name string, timeout time.Duration) msha.Step {
	return msha.Step{Name: name, Kind: msha.StepApproval, Timeout: timeout}
}

// Approve answers an approval of an order that some executor works on; it may be given before the step is reached. by and note are kept in
// the order. Repeating it changes nothing; ErrConflict if it was refused before. ErrNotFound names the orders and steps that wait;
// ErrInvalid without by, or if the order is over.
func (e *Executor) Approve(ctx context.Context, order, step, by, note string) error {
	return e.decide(ctx, order, Decision{Step: step, Approved: true, By: by, Note: note})
}

// Refuse is Approve with the answer no: the switch is aborted when it comes to the step.
func (e *Executor) Refuse(ctx context.Context, order, step, by, note string) error {
	return e.decide(ctx, order, Decision{Step: step, By: by, Note: note})
}

func (e *Executor) decide(ctx context.Context, id string, d Decision) error {
	if err := e.trusted(); err != nil {
		return err
	}
	return updateOrders(ctx, e.o.Store, func(all *Orders) error {
		o := all.find(id)
		if o == nil {
			return all.unknown("switch.approve", id)
		}
		return o.decide(d)
	})
}

// decide adds an answer to the order.
func (o *Order) decide(d Decision) error {
	const op = "switch.approve"
	where := o.ID + " step " + d.Step
	var waiting []string
	at := -1
	for i, s := range o.Plan.Steps {
		if s.Kind != msha.StepApproval {
			continue
		}
		if _, answered := o.decision(s.Name); !answered && i >= o.Next {
			waiting = append(waiting, s.Name)
		}
		if s.Name == d.Step {
			at = i
		}
	}
	old, answered := o.decision(d.Step)
	switch {
	case at < 0:
		return msha.Errorf(op, where, "steps that wait for an answer: "+list(waiting), "approval %w", msha.ErrNotFound)
	case d.By == "":
		return msha.Errorf(op, where, "say who approves or refuses", "%w: nobody", msha.ErrInvalid)
	case answered && old.Approved == d.Approved:
		return nil
	case answered:
		return msha.Errorf(op, where, "the first answer counts", "%w: %s", msha.ErrConflict, old)
	case !o.Unfinished():
		return msha.Errorf(op, where, "make a new plan", "%w: the order is %s", msha.ErrInvalid, o.State)
	}
	o.Decisions = append(slices.Clone(o.Decisions), d)
	return nil
}

func (o *Order) decision(step string) (Decision, bool) {
	i := slices.IndexFunc(o.Decisions, func(d Decision) bool { return d.Step == step })
	if i < 0 {
		return Decision{}, false
	}
	return o.Decisions[i], true
}

// approvalPoll is the least time between two looks for an answer: people are slow, and the metastore has other work.
const approvalPoll = 100 * time.Millisecond

var errUnanswered = errors.New("nobody answered in time")

// approval waits for the answer.
func (r *run) approval(ctx context.Context, step msha.Step) (PhaseResult, error) {
	timeout := r.timeout(step)
	bounded, cancel := context.WithTimeoutCause(ctx, timeout, errUnanswered)
	defer cancel()
	r.tell(Event{Kind: EventApproval, Phase: step.Name, Text: "waits " + timeout.String() + " for an answer"})
	r.wait(step.Name, "somebody to approve or refuse")
	for {
		if err := r.reload(bounded); err != nil {
			if why := whyEnded(ctx, err); why != nil {
				return PhaseResult{}, why
			}
			r.wait(step.Name, "the metastore: "+err.Error())
		}
		if d, answered := r.order.decision(step.Name); answered {
			r.report.Decisions = r.order.Decisions
			if !d.Approved {
				return PhaseResult{}, msha.Errorf("switch.approval", step.Name, "", "%w: %s", ErrRefused, d)
			}
			return PhaseResult{Note: d.String()}, nil
		}
		if err := r.sleepFor(bounded, max(r.o.Poll, approvalPoll)); err != nil {
			if errors.Is(err, errUnanswered) || errors.Is(err, errDeadline) {
				err = msha.Errorf("switch.approval", step.Name, "approve the step of order "+r.order.ID+" in time, or give it a longer timeout", "%w: %w", err, context.DeadlineExceeded)
			}
			return PhaseResult{}, err
		}
	}
}

// reload takes over what others wrote into the order. It fails with the reason if one of them ended the run.
func (r *run) reload(ctx context.Context) error {
	all, err := ReadOrders(ctx, r.o.Store)
	if err != nil {
		return err
	}
	stored := all.find(r.order.ID)
	if stored == nil || stored.Manager != r.o.Manager {
		return errLost
	}
	r.order.Decisions = stored.Decisions
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored.CalledOff = stored.CalledOff
	return stored.stops(&r.order)
}
