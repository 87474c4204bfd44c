//go:build unix

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

func TestPauses(t *testing.T) {
	starts := map[string][]run{
		"seen":    {{"unit-2", at(0), at(2)}, {"unit-2", at(10), at(50)}, {"unit-2", at(20), at(22)}, {"unit-1", at(80), at(82)}},
		"idle":    {{"unit-2", at(0), at(2)}},
		"earlier": {{"unit-1", at(0), at(2)}, {"unit-1", at(30), at(32)}},
	}
	m := move{values: []string{"seen", "idle", "earlier", "unknown"}, to: "unit-1", begun: at(15)}
	require.Equal(t, []pause{{whole: 60 * time.Millisecond, beyond: 30 * time.Millisecond}}, m.pauses(starts))
}

func TestGaps(t *testing.T) {
	starts := map[string][]run{"v": {{start: at(0)}, {start: at(10)}, {start: at(40)}, {start: at(45)}}}
	require.Equal(t, []time.Duration{30 * time.Millisecond}, gaps(starts, []string{"v"}, at(15), at(20)))
	require.Len(t, gaps(starts, []string{"v"}, at(0), at(100)), 3)
	require.Empty(t, gaps(starts, []string{"w"}, at(0), at(100)))
}

func TestHistogram(t *testing.T) {
	var b strings.Builder
	histogram(&b, []time.Duration{1, 2, time.Second, time.Hour}, 2, time.Minute)
	require.Equal(t, "    < 2ns     1 "+strings.Repeat("#", 30)+"\n   < 1m0s     2 "+strings.Repeat("#", 60)+"\n     more     1 "+strings.Repeat("#", 30)+"\n", b.String())
}
