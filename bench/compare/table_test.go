package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	const ms = time.Millisecond
	rows := []scenario{{name: "moves", title: "switches"}, {name: "kill", title: "kill -9"}}
	loop := result{title: "loop", scenarios: map[string]*count{
		"moves": {sent: 100, lost: 7, repeated: 2, pauses: []time.Duration{300 * ms, 250 * ms, 900 * ms}},
		"kill":  {sent: 50, repeated: 5, killed: 3, waited: 40 * ms},
	}}
	library := result{title: "msha", library: true, scenarios: map[string]*count{"moves": {sent: 100, pauses: []time.Duration{40 * ms, 30 * ms}}, "kill": {sent: 50}}}
	loop.total, library.total = loop.sum(), library.sum()
	var b strings.Builder
	writeTable(&b, rows, []result{loop, library})
	require.Equal(t, `|  | loop: lost | repeated | pause | msha: lost | repeated | pause |
|---|---:|---:|---:|---:|---:|---:|
| switches | 7 | 2 | 300 / 900 | 0 | 0 | 30 / 40 |
| kill -9 | 0 | 5 (3) | 40 | 0 | 0 | 0 |
| **all** | 7 | 7 (3) | 300 / 900 | 0 | 0 | 30 / 40 |
`, b.String())
	require.Equal(t, "compare loop: 150 sent, 7 lost, 7 repeated, pause p50/max 300/900 ms", loop.verdict())
	require.Equal(t, "compare msha: 150 sent, 0 lost, 0 repeated, pause p50/max 30/40 ms", library.verdict())
	require.True(t, loop.total.worse())
	require.False(t, library.total.worse())
}

func TestVerdictWithoutSwitches(t *testing.T) {
	require.Equal(t, "compare loop: 0 sent, 0 lost, 0 repeated, pause p50/max –", result{title: "loop"}.verdict())
}
