package switchplan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-msha/msha"
)

// handOver writes what remains to the new owner's log. Until the commit nobody acts on it.
func (r *run) handOver(ctx context.Context) error {
	hashes := map[string]string{}
	for _, part := range pairs(r.order.Plan.Moves) {
		from, to := part[0].From, part[0].To
		remaining, err := r.o.Facts.Remaining(ctx, from, r.table, part)
		if err == nil {
			err = r.o.Facts.HandOver(ctx, to, remaining)
		}
		if err != nil {
			if errors.Is(context.Cause(ctx), errDeadline) {
				return msha.Errorf("switch."+HandOver, from, "see whether the brokers of both units answer", "%w: %w", errDeadline, err)
			}
			return err
		}
		for _, m := range part {
			if remaining.Hashes[m.NewSet] == "" {
				return msha.Errorf("switch."+HandOver, "route set "+m.NewSet, "", "%w: nothing says what remains of it", msha.ErrMissingFacts)
			}
		}
		maps.Copy(hashes, remaining.Hashes)
	}
	return r.saved(ctx, func(o *Order) { o.Hashes = hashes })
}

// takeOver waits until the new owners' agents looked at everything that was handed over, or the time is up: they go on alone.
func (r *run) takeOver(ctx context.Context) (string, error) {
	end := now().Add(r.o.TakeOverTimeout)
	for {
		sum, err := r.progress(ctx)
		if err == nil {
			r.report.TakenOver, r.report.Pending = sum.TakenOver, sum.Pending
			r.report.PossiblyRepeated, r.report.Unknown = sum.PossiblyRepeated, sum.Unknown
			r.o.Observer.TakeOver(r.order.ID, sum)
			if sum != r.progressed {
				r.progressed = sum
				r.tell(Event{Kind: EventProgress, Phase: TakeOver, Progress: &sum})
			}
			if sum.Pending == 0 && sum.Offline > 0 {
				return fmt.Sprintf("%d messages wait for groups that nobody consumes in the gaining unit", sum.Offline), nil
			}
			if sum.Pending == 0 {
				return "", nil
			}
		}
		if now().After(end) {
			if err != nil {
				return "", msha.Errorf("switch."+TakeOver, r.order.ID, "the routes have moved; only the counts are missing", "%w", err)
			}
			return fmt.Sprintf("%d messages pending when the report was made", sum.Pending), nil
		}
		if err := r.sleep(ctx); err != nil {
			return "", err
		}
	}
}

func (r *run) progress(ctx context.Context) (sum Progress, err error) {
	byUnit := map[string][]msha.Move{}
	for _, m := range r.order.Plan.Moves {
		byUnit[m.To] = append(byUnit[m.To], m)
	}
	for _, unit := range slices.Sorted(maps.Keys(byUnit)) {
		p, err := r.o.Facts.Progress(ctx, unit, byUnit[unit])
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
