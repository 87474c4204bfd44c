//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-msha/msha/internal/spread"
	"github.com/go-msha/msha/switchplan"
)

const (
	load    = 200                    // messages a second that are produced in each unit
	work    = 2 * time.Millisecond   // of a handler
	between = 300 * time.Millisecond // two switches
)

// measurePauses moves two routes to and fro while messages flow, and looks at them and at those that stay.
func measurePauses(ctx context.Context, report io.Writer, w *world, p plan) (count, error) {
	w.work.Store(int64(work))
	defer w.work.Store(0)
	stop := w.flow(ctx, load)
	defer stop()
	if err := sleep(ctx, 2*time.Second); err != nil { // let work be under way everywhere
		return count{}, err
	}
	calmFrom := time.Now()
	if err := sleep(ctx, p.calm); err != nil {
		return count{}, err
	}
	calmTo := time.Now()
	var moves []move
	for i := range p.switches {
		m := move{values: moving, to: units[i%len(units)], begun: time.Now()}
		var err error
		if m.report, err = w.move(ctx, m.to, m.values...); err != nil {
			return count{}, err
		}
		m.ended = time.Now()
		moves = append(moves, m)
		if err := sleep(ctx, between); err != nil {
			return count{}, err
		}
	}
	stop()
	c := w.settle(ctx)
	reportPauses(report, w.journal.starts(), moves, calmFrom, calmTo)
	return c, nil
}

func reportPauses(report io.Writer, starts map[string][]run, moves []move, calmFrom, calmTo time.Time) {
	var whole, beyond, durations, during, longest []time.Duration
	for _, m := range moves {
		for _, p := range m.pauses(starts) {
			whole, beyond = append(whole, p.whole), append(beyond, p.beyond)
		}
		durations = append(durations, m.ended.Sub(m.begun))
		these := gaps(starts, still, m.begun, m.ended)
		during = append(during, these...)
		longest = append(longest, spread.Quantile(these, 1))
	}
	calm := gaps(starts, still, calmFrom, calmTo)
	fmt.Fprintf(report, `
## Pauses of %d switches to and fro, %d routes each

%d messages a second in each unit, of four routes in turn; handlers take %v. A pause is from the last start of a route's messages at the old owner to
the first one at the new owner; "beyond" leaves out what the old owner's handlers still took. A route's messages are %v apart on average.

`, len(moves), len(moving), load, work, time.Second*time.Duration(len(moving)+len(still))/(load*time.Duration(len(units))))
	fmt.Fprint(report, rowHead)
	row(report, "pause", whole)
	row(report, "pause beyond handlers", beyond)
	row(report, "switch, from the request to nothing left to take over", durations)
	for _, name := range switchplan.Phases() {
		row(report, "phase "+name, phase(moves, name))
	}
	fmt.Fprint(report, "\n```\n")
	step := time.Millisecond
	histogram(report, beyond, 10*step, 20*step, 30*step, 50*step, 75*step, 100*step, 150*step, 200*step, 300*step, 500*step, 1000*step)
	fmt.Fprint(report, "```\n\nTimes between two starts of routes that stay:\n\n", rowHead)
	row(report, "without a switch", calm)
	row(report, "during switches", during)
	row(report, "longest of each switch", longest)
	row(report, "longest of as long a time without a switch", longestOf(starts, calmFrom, calmTo, spread.Quantile(durations, .5)))
}

// longestOf cuts a calm time into parts and gives the longest gap of each.
func longestOf(starts map[string][]run, from, to time.Time, part time.Duration) (out []time.Duration) {
	for at := from; at.Add(part).Before(to); at = at.Add(part) {
		out = append(out, slices.Max(append(gaps(starts, still, at, at.Add(part)), 0)))
	}
	return out
}
