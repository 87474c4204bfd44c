//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/internal/spread"
	"github.com/go-msha/msha/switchplan"
)

// batch is how many messages of a backlog are sent at once.
const batch = 200

// takeover is what one switch with a backlog took.
type takeover struct {
	phases map[string]time.Duration
	before time.Duration // the phases up to the commit
	rate   float64       // messages a second, from the first start to the last end
	whole  time.Duration // from the request to the last end
}

// measureBacklogs lets messages of a route wait, moves it and looks at how the gaining unit gets through them. What a unit gets through that
// simply was behind, in the same run, is what that is compared with. New messages arrive all the time.
func measureBacklogs(ctx context.Context, report io.Writer, w *world, p plan) (count, error) {
	sizes := []int{0, p.backlog / 10, p.backlog}
	stop := w.flow(ctx, load)
	defer stop()
	taken := map[int][]takeover{}
	var normal []float64
	for i, size := range sizes {
		for range p.rounds[i] {
			if size == p.backlog {
				rate, err := w.catchUp(ctx, size)
				if err != nil {
					return count{}, err
				}
				normal = append(normal, rate)
			}
			t, err := w.takeOver(ctx, size)
			if err != nil {
				return count{}, err
			}
			taken[size] = append(taken[size], t)
		}
	}
	stop()
	c := w.settle(ctx)
	reportPhases(report, sizes, taken)
	reportRates(report, sizes[1:], taken, normal)
	return c, nil
}

// pile suspends a unit's consumers and sends messages of a value there, until they are copied and the other unit has passed them over.
func (w *world) pile(ctx context.Context, unit, value string, n int) (span, error) {
	for _, c := range w.crew[unit] {
		c.Suspend()
	}
	ids := w.journal.numbers(n)
	errs := make([]error, queues)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for at := ids.from + i*batch; at < ids.to && errs[i] == nil; at += queues * batch {
				errs[i] = w.send(ctx, unit, topic, value, span{at, min(at+batch, ids.to)})
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return ids, err
	}
	if err := w.copying[unit].Sync(ctx, topic); err != nil {
		return ids, err
	}
	return ids, w.passed(ctx, other(unit), msha.ReplicaTopic(topic, unit))
}

// passed waits until a unit's group has committed what a topic holds now.
func (w *world) passed(ctx context.Context, unit, topic string) error {
	c := w.clusters.ByUnit[unit]
	qs, err := c.Queues(ctx, topic, false)
	if err != nil {
		return err
	}
	for _, q := range qs {
		end, err := c.MaxOffset(ctx, q)
		if err != nil {
			return err
		}
		if err := w.committed(ctx, c, q, end); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) committed(ctx context.Context, c *remoting.Cluster, q remoting.Queue, end int64) error {
	for {
		at, err := c.CommittedOffset(ctx, group, q)
		if err != nil && !errors.Is(err, msha.ErrNotFound) || at >= end {
			return err
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (w *world) resume(unit string) {
	for _, c := range w.crew[unit] {
		c.Resume()
	}
}

// catchUp is how many messages a second the first unit processes that was behind with a route of its own.
func (w *world) catchUp(ctx context.Context, n int) (float64, error) {
	ids, err := w.pile(ctx, unit1, still[0], n)
	w.resume(unit1)
	if err == nil {
		err = w.await(ctx, ids)
	}
	return w.rate(ids), err
}

func (w *world) rate(ids span) float64 {
	first, last := w.journal.worked(ids)
	return float64(ids.len()) / last.Sub(first).Seconds()
}

// takeOver moves a route with a backlog to the first unit, and back again once it is through.
func (w *world) takeOver(ctx context.Context, n int) (t takeover, err error) {
	ids, err := w.pile(ctx, unit2, moving[0], n)
	if err != nil {
		return t, err
	}
	begun := time.Now()
	report, err := w.move(ctx, unit1, moving[0])
	if err != nil {
		return t, err
	}
	if err := w.await(ctx, ids); err != nil {
		return t, err
	}
	t.phases = map[string]time.Duration{}
	for _, phase := range report.Phases {
		t.phases[phase.Phase] = phase.Duration
		if phase.Phase != switchplan.TakeOver {
			t.before += phase.Duration
		}
	}
	if n > 0 {
		_, last := w.journal.worked(ids)
		t.rate, t.whole = w.rate(ids), last.Sub(begun)
	}
	w.resume(unit2)
	_, err = w.move(ctx, unit2, moving[0])
	return t, err
}

func reportPhases(report io.Writer, sizes []int, taken map[int][]takeover) {
	phases := switchplan.Phases()
	phases = phases[:slices.Index(phases, switchplan.TakeOver)]
	fmt.Fprintf(report, "\n## The phases up to the commit, with a backlog\n\nMedians. The losing unit's consumers were suspended, all was copied, and the gaining unit had passed it over.\n\n| backlog | switches |")
	for _, phase := range phases {
		fmt.Fprintf(report, " %s |", phase)
	}
	fmt.Fprint(report, " together |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, size := range sizes {
		fmt.Fprintf(report, "| %d | %d |", size, len(taken[size]))
		for _, phase := range phases {
			fmt.Fprintf(report, " %s |", ms(median(taken[size], func(t takeover) time.Duration { return t.phases[phase] })))
		}
		fmt.Fprintf(report, " %s |\n", ms(median(taken[size], func(t takeover) time.Duration { return t.before })))
	}
}

func reportRates(report io.Writer, sizes []int, taken map[int][]takeover, normal []float64) {
	usual := spread.Of(normal).Median
	fmt.Fprintf(report, `
## Taking a backlog over

%d messages a second are produced in each unit meanwhile; handlers only count. "usual" is what the same consumers process of a route of their own after they
were suspended, in the same run.

| | backlog | messages/s | of usual | from the request to the last one |
|---|---|---|---|---|
| usual | %d | %.0f | | |
`, load, sizes[len(sizes)-1], usual)
	for _, size := range sizes {
		var rates []float64
		for _, t := range taken[size] {
			rates = append(rates, t.rate)
		}
		fmt.Fprintf(report, "| take-over | %d | %.0f | %.0f %% | %s |\n", size, spread.Of(rates).Median, 100*spread.Of(rates).Median/usual,
			ms(median(taken[size], func(t takeover) time.Duration { return t.whole })))
	}
}

func median(of []takeover, f func(takeover) time.Duration) time.Duration {
	var all []float64
	for _, t := range of {
		all = append(all, float64(f(t)))
	}
	return time.Duration(spread.Of(all).Median)
}
