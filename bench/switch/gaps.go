//go:build unix

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/spread"
	"github.com/go-msha/msha/switchplan"
)

// move is one switch of values that are watched.
type move struct {
	values       []string
	to           string
	begun, ended time.Time
	report       *switchplan.Report
}

// phase is what a phase of each move took.
func phase(moves []move, name string) (out []time.Duration) {
	for _, m := range moves {
		for _, p := range m.report.Phases {
			if p.Phase == name {
				out = append(out, p.Duration)
			}
		}
	}
	return out
}

// pause is how a value changed hands: between its last start at the old owner and its first one at the new owner.
type pause struct {
	whole  time.Duration
	beyond time.Duration // without what the handlers at the old owner still took
}

// pauses are those of a move's values that were seen at both owners.
func (m move) pauses(starts map[string][]run) (out []pause) {
	for _, value := range m.values {
		runs := starts[value]
		first := slices.IndexFunc(runs, func(r run) bool { return r.unit == m.to && r.start.After(m.begun) })
		if first < 1 || runs[first-1].unit == m.to {
			continue
		}
		last, end := runs[first-1], runs[first-1].end
		for _, r := range runs[:first] {
			if r.unit == last.unit && r.end.After(end) {
				end = r.end
			}
		}
		p := pause{whole: runs[first].start.Sub(last.start)}
		p.beyond = p.whole - end.Sub(last.start)
		out = append(out, p)
	}
	return out
}

// gaps are the times between starts of each value's messages that overlap [from, to].
func gaps(starts map[string][]run, values []string, from, to time.Time) (out []time.Duration) {
	for _, value := range values {
		runs := starts[value]
		for i := 1; i < len(runs); i++ {
			if runs[i].start.After(from) && runs[i-1].start.Before(to) {
				out = append(out, runs[i].start.Sub(runs[i-1].start))
			}
		}
	}
	return out
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

// row is a line of a table: how many, p50, p90, p99, most.
func row(w io.Writer, name string, of []time.Duration) {
	fmt.Fprintf(w, "| %s | %d | %s | %s | %s | %s |\n", name, len(of), ms(spread.Quantile(of, .5)), ms(spread.Quantile(of, .9)), ms(spread.Quantile(of, .99)), ms(spread.Quantile(of, 1)))
}

const rowHead = "| ms | number | p50 | p90 | p99 | most |\n|---|---|---|---|---|---|\n"

// bars is the longest bar of a histogram.
const bars = 60

// histogram draws how many durations are below each limit and not below the one before.
func histogram(w io.Writer, of []time.Duration, limits ...time.Duration) {
	counts := make([]int, len(limits)+1)
	for _, d := range of {
		i := slices.IndexFunc(limits, func(limit time.Duration) bool { return d < limit })
		if i < 0 {
			i = len(limits)
		}
		counts[i]++
	}
	most := max(slices.Max(counts), 1)
	for i, n := range counts {
		name := "more"
		if i < len(limits) {
			name = "< " + limits[i].String()
		}
		fmt.Fprintf(w, "%9s %5d %s\n", name, n, strings.Repeat("#", (n*bars+most-1)/most))
	}
}
