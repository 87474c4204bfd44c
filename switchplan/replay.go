package switchplan

import (
	"context"
	"strings"

	"github.com/go-msha/msha"
)

// replayProblems are what a request for a replay must not be.
func replayProblems(req *msha.SwitchRequest) (problems []string) {
	r := req.Replay
	if r == nil {
		return nil
	}
	if r.Group == "" {
		problems = append(problems, "a replay needs a group")
	}
	if r.Since.IsZero() {
		problems = append(problems, "a replay needs the time it begins at")
	}
	if !r.Until.IsZero() && !r.Until.After(r.Since) {
		problems = append(problems, "the replay ends before it begins")
	}
	if req.To != "" || req.Forced || req.Create {
		problems = append(problems, "a replay moves nothing: it has no target, is not forced and makes no rules")
	}
	return problems
}

// replayable refuses routes that were taken from a unit which has not rejoined: what it had done would be taken away from what is to be processed
// once more.
func replayable(req msha.SwitchRequest, picked []picked) error {
	if problems := replayProblems(&req); len(problems) > 0 {
		return invalid("", "name group and since", strings.Join(problems, "; "))
	}
	for _, p := range picked {
		if len(p.set.Forced) > 0 {
			return msha.Errorf(opPlan, "route set "+p.set.ID, "wait until it has rejoined", "%w: unit %s lost the route by force and has not rejoined", msha.ErrBusy, p.set.Forced[0].Unit)
		}
	}
	return nil
}

// again is how many messages a replay would process once more now, at most.
func (e *Executor) again(ctx context.Context, plan *msha.Plan, table *msha.Table) (sum int64, err error) {
	for _, part := range pairs(plan.Moves) {
		r, err := e.o.Facts.RemainingAgain(ctx, part[0].From, table, part, plan.Request.Replay)
		if err != nil {
			return 0, err
		}
		sum += r.Repeated
	}
	return sum, nil
}
