package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/spread"
)

// switchesInARow is how often a value moves there and back.
const switchesInARow = 100

// hundred: a value moves to the other unit and back, a hundred times, while messages flow in both units.
func hundred(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	for _, unit := range w.names {
		w.join(unit)
		w.join(unit)
	}
	var stops []func()
	for _, unit := range w.names {
		stops = append(stops, w.steadily(unit, 100, "guangzhou", "guangzhou", "beijing", "shenzhen"))
	}
	time.Sleep(time.Second) // let work be under way everywhere
	at := []time.Time{}
	for range switchesInARow {
		at = append(at, time.Now())
		w.quietly("values=guangzhou")
	}
	time.Sleep(time.Second)
	for _, stop := range stops {
		stop()
	}
	v := w.settled()
	w.exact(v)
	moved := w.journal.pauses("guangzhou", at)
	require.Greater(t, len(moved), switchesInARow/2, "hand-overs that messages were seen on both sides of")
	t.Logf("%d switches: %d messages; pause of the moved value p50 %v, p99 %v, most %v; longest gap of a value that stays %v",
		switchesInARow, v.Sent, quantile(moved, 0.5), quantile(moved, 0.99), quantile(moved, 1), w.journal.longestGap("beijing", at[0]))
}

// quietly is move without a line for each switch.
func (w *world) quietly(query string) {
	w.Helper()
	status, _, failure := w.tryMove(query + "&deadline=60s")
	require.Equal(w, 200, status, fmt.Sprint(query, ": ", failure.Error))
}

// pauses are the times between the last start in one unit and the first one in the next, of the messages of a value, for each switch
// that began at one of the given times.
func (j *journal) pauses(value string, at []time.Time) (out []time.Duration) {
	starts := j.starts(value)
	for i := 1; i < len(starts); i++ {
		if starts[i].unit != starts[i-1].unit && starts[i].start.After(at[0]) {
			out = append(out, starts[i].start.Sub(starts[i-1].start))
		}
	}
	slices.Sort(out)
	return out
}

// longestGap is the longest time between two starts of a value's messages after a moment.
func (j *journal) longestGap(value string, after time.Time) (longest time.Duration) {
	starts := j.starts(value)
	for i := 1; i < len(starts); i++ {
		if starts[i-1].start.After(after) {
			longest = max(longest, starts[i].start.Sub(starts[i-1].start))
		}
	}
	return longest
}

// starts are the runs of a value's messages in the order of their starts.
func (j *journal) starts(value string) (out []run) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, runs := range j.runs {
		for _, r := range runs {
			if r.value == value {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b run) int { return a.start.Compare(b.start) })
	return out
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return spread.Quantile(sorted, q).Round(100 * time.Microsecond)
}
