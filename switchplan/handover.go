package switchplan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/go-msha/msha"
)

// handOver writes what remains to the log of the new owner, and of the old one: what a term has to process must be known where it is taken
// away by force. Until the commit nobody acts on it.
func (r *run) handOver(ctx context.Context) error {
	hashes := map[string]string{}
	repeated := int64(0)
	for _, part := range pairs(r.order.Plan.Moves) {
		from, to := part[0].From, part[0].To
		remaining, err := r.remaining(ctx, from, to, part)
		if err == nil {
			err = r.write(ctx, remaining, r.witnesses(from, to))
		}
		if err != nil {
			if errors.Is(context.Cause(ctx), errDeadline) {
				hint := "see whether the brokers of both units answer"
				if r.order.Plan.Request.Forced && errors.Is(err, msha.ErrMissingFacts) {
					hint = "wait for the copies of its log, or override=" + GuardFacts + ": groups without facts begin at their baselines"
				}
				return msha.Errorf("switch."+HandOver, from, hint, "%w: %w", errDeadline, err)
			}
			return err
		}
		for _, m := range part {
			if remaining.Hashes[m.NewSet] == "" {
				return msha.Errorf("switch."+HandOver, "route set "+m.NewSet, "", "%w: nothing says what remains of it", msha.ErrMissingFacts)
			}
		}
		repeated += remaining.Repeated
		maps.Copy(hashes, remaining.Hashes)
	}
	r.note(func(o *Order) { o.Hashes, o.Repeated = hashes, repeated })
	return nil
}

// remaining is what moves between two units leave. A forced switch waits for copies that are still on their way from a third unit.
func (r *run) remaining(ctx context.Context, from, to string, part []msha.Move) (*Remaining, error) {
	switch req := r.order.Plan.Request; {
	case req.Replay != nil:
		return r.acknowledgedStill(ctx, from, func() (*Remaining, error) { return r.o.Facts.RemainingAgain(ctx, from, r.table, part, req.Replay) })
	case !req.Forced:
		return r.acknowledgedStill(ctx, from, func() (*Remaining, error) { return r.o.Facts.Remaining(ctx, from, r.table, part) })
	}
	var lacks error // what the last complete look missed
	for {
		remaining, err := r.o.Facts.RemainingForced(ctx, from, to, r.table, part, partial(&r.order.Plan))
		switch {
		case errors.Is(err, msha.ErrMissingFacts):
			lacks = err
		case err != nil && lacks != nil && errors.Is(context.Cause(ctx), errDeadline):
			return nil, lacks
		default:
			return remaining, err
		}
		r.wait(HandOver, err.Error())
		if r.sleep(ctx) != nil {
			return nil, err
		}
	}
}

// acknowledgedStill repeats a computation until nothing is forgotten.
func (r *run) acknowledgedStill(ctx context.Context, unit string, compute func() (*Remaining, error)) (*Remaining, error) {
	var forgotten []string
	for {
		remaining, err := compute()
		if err == nil {
			if forgotten = r.forgotten(unit, remaining); len(forgotten) == 0 {
				return remaining, nil
			}
			r.wait(HandOver, "the log of "+unit+" lost the acknowledgements of "+list(forgotten))
			err = r.sleep(ctx)
		}
		switch {
		case err != nil && len(forgotten) > 0 && errors.Is(context.Cause(ctx), errDeadline):
			return nil, r.late(HandOver, forgotten)
		case err != nil:
			return nil, err
		}
	}
}

// partial says whether a forced switch goes on without facts that it cannot have.
func partial(plan *msha.Plan) bool { return slices.Contains(plan.Request.Override, GuardFacts) }

// witnesses are the units whose logs get a hand-over.
func (r *run) witnesses(from, to string) []string {
	if r.order.Plan.Request.Forced || to == from {
		return []string{to}
	}
	return []string{to, from}
}

// write appends a hand-over to the logs of several units at once.
func (e *Executor) write(ctx context.Context, remaining *Remaining, units []string) error {
	errs := make([]error, len(units))
	var wg sync.WaitGroup
	for i, unit := range units {
		wg.Go(func() { errs[i] = e.o.Facts.HandOver(ctx, unit, remaining) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// takeOver waits until the new owners' agents looked at everything that was handed over, or the time is up: they go on alone.
//
// What they pulled before they knew the commit was passed over, and has to be looked at again. What they pull afterwards is new work, of which
// there may always be some. So the end is where they were when the last of them acknowledged the commit.
func (r *run) takeOver(ctx context.Context) (string, error) {
	end := now().Add(r.o.TakeOverTimeout)
	upTo := map[string]Pulled{} // by gaining unit
	for {
		waiting, err := r.acknowledged(ctx, upTo)
		if len(waiting) > 0 {
			r.wait(TakeOver, "not acknowledged by "+list(waiting))
		}
		sum, failed := r.progress(ctx, upTo)
		if err = errors.Join(err, failed); err == nil {
			r.report.TakenOver, r.report.Pending = sum.TakenOver, sum.Pending
			r.report.PossiblyRepeated, r.report.Unknown = sum.PossiblyRepeated+r.order.Repeated, sum.Unknown
			r.o.Observer.TakeOver(r.order.ID, sum)
			if sum != r.progressed {
				r.progressed = sum
				r.tell(Event{Kind: EventProgress, Phase: TakeOver, Progress: &sum})
			}
			switch {
			case len(waiting) > 0 || sum.Pending > 0:
			case sum.Offline > 0:
				return fmt.Sprintf("%d messages wait for groups that nobody consumes in the gaining unit", sum.Offline), nil
			default:
				return "", nil
			}
		}
		if now().After(end) {
			if err != nil {
				return "", msha.Errorf("switch."+TakeOver, r.order.ID, "the routes have moved; only the counts are missing", "%w", err)
			}
			note := fmt.Sprintf("%d messages pending when the report was made", sum.Pending)
			if len(waiting) > 0 {
				note += "; not acknowledged by " + list(waiting)
			}
			return note, nil
		}
		if err := r.sleep(ctx); err != nil {
			return "", err
		}
	}
}

// acknowledged notes how far gaining units have pulled, once all their processes have acknowledged the commit. It returns those that have not.
// One that no broker lists holds nothing up: its queues go to others, who know the commit.
func (r *run) acknowledged(ctx context.Context, upTo map[string]Pulled) (waiting []string, err error) {
	if r.committed == 0 {
		t, err := r.o.Tables.Current(ctx)
		if err != nil {
			return nil, err
		}
		r.committed = t.Version
	}
	for _, unit := range gainers(&r.order.Plan) {
		if upTo[unit] != nil {
			continue
		}
		s, err := r.look(ctx, unit, 0)
		if err != nil {
			return nil, err
		}
		before := len(waiting)
		for _, m := range s.members {
			if _, absent := r.absent[sessionOf(m)]; !absent && s.acks[m.ClientID] < r.committed {
				waiting = append(waiting, m.ClientID)
			}
		}
		if len(waiting) > before {
			continue
		}
		if upTo[unit], err = r.o.Facts.Pulled(ctx, unit); err != nil {
			return nil, err
		}
	}
	return waiting, nil
}

func (r *run) progress(ctx context.Context, upTo map[string]Pulled) (sum Progress, err error) {
	byUnit := map[string][]msha.Move{}
	for _, m := range r.order.Plan.Moves {
		byUnit[m.To] = append(byUnit[m.To], m)
	}
	for _, unit := range slices.Sorted(maps.Keys(byUnit)) {
		p, err := r.o.Facts.Progress(ctx, unit, byUnit[unit], upTo[unit])
		if err != nil {
			return sum, err
		}
		sum.Pending += p.Pending
		sum.Offline += p.Offline
		sum.TakenOver += p.TakenOver
		sum.PossiblyRepeated += p.PossiblyRepeated
		sum.Unknown += p.Unknown
	}
	return sum, nil
}

// pairs groups moves by losing and gaining unit.
func pairs(moves []msha.Move) [][]msha.Move {
	var out [][]msha.Move
	for _, m := range moves {
		i := slices.IndexFunc(out, func(p []msha.Move) bool { return p[0].From == m.From && p[0].To == m.To })
		if i < 0 {
			i, out = len(out), append(out, nil)
		}
		out[i] = append(out[i], m)
	}
	return out
}
