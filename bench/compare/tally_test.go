package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/chaos"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a time of the tests, in milliseconds.
func at(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

// notes makes evidence.
type notes struct {
	evidence
	runs int
}

func newNotes(scenarios ...string) *notes {
	n := &notes{}
	for i, s := range scenarios {
		n.stages = append(n.stages, stage{s, at(i * 10_000)})
	}
	return n
}

func (n *notes) sent(ms int, key string) {
	n.lines = append(n.lines, chaos.Line{Process: "unit-1.producer", At: at(ms), Event: chaos.Sent, Key: key, Value: "guangzhou"})
}

// ran notes a run of guangzhou; without an event it is cut off.
func (n *notes) ran(process string, from, to int, e chaos.Event, key string) {
	n.runs++
	n.lines = append(n.lines, chaos.Line{Process: process, At: at(from), Event: chaos.Start, Run: n.runs, Key: key, Value: "guangzhou"})
	if e != "" {
		n.lines = append(n.lines, chaos.Line{Process: process, At: at(to), Event: e, Run: n.runs, Key: key, Value: "guangzhou"})
	}
}

func TestTallyCounts(t *testing.T) {
	n := newNotes("a", "b")
	for i := range 6 {
		n.sent(i, fmt.Sprintf("a/unit-1/%d", i))
	}
	n.ran("unit-1.channel-1.1", 10, 30, chaos.End, "a/unit-1/0")
	n.ran("unit-1.channel-1.1", 10, 30, chaos.Fail, "a/unit-1/1") // and tried again
	n.ran("unit-1.channel-1.1", 1010, 1030, chaos.End, "a/unit-1/1")
	n.ran("unit-1.channel-1.1", 10, 30, chaos.Fail, "a/unit-1/2") // and never again
	n.ran("unit-1.channel-1.1", 40, 60, chaos.End, "a/unit-1/3")
	n.ran("unit-1.channel-1.1", 10_040, 10_060, chaos.End, "a/unit-1/3") // while b plays
	n.ran("unit-1.channel-1.1", 10_070, 10_090, "", "a/unit-1/4")        // cut off
	got := tally(n.evidence)
	require.Equal(t, &count{sent: 6, lost: 3, waited: 10_066 * time.Millisecond}, got["a"], "2 and 4 did not end well, 5 was never seen")
	require.Equal(t, &count{repeated: 1}, got["b"])
	require.True(t, got["a"].worse())
	require.True(t, got["b"].worse())
}

func TestTallyUnsureSendsAreNotMissed(t *testing.T) {
	n := newNotes("a")
	n.lines = append(n.lines, chaos.Line{Process: "unit-1.producer", At: at(1), Event: chaos.Unsure, Key: "a/unit-1/0"})
	require.Equal(t, &count{}, tally(n.evidence)["a"])
}

func TestTallyExcusesUnpublishedWorkOfKilledProcesses(t *testing.T) {
	n := newNotes("a")
	n.kills = []kill{{"unit-1.channel-1.1", at(5000)}}
	for i, r := range []struct {
		process string
		end     int
	}{
		{"unit-1.channel-1.1", 4900}, // just before it was killed
		{"unit-1.channel-1.1", 2900}, // long before
		{"unit-1.channel-2.1", 4900}, // another process
	} {
		key := fmt.Sprintf("a/unit-1/%d", i)
		n.sent(1, key)
		n.ran(r.process, r.end-20, r.end, chaos.End, key)
		n.ran("unit-1.channel-1.2", 7000, 7020, chaos.End, key)
	}
	got := tally(n.evidence)["a"]
	require.Equal(t, 3, got.repeated)
	require.Equal(t, 1, got.killed)
	require.True(t, got.worse())
	require.False(t, count{repeated: 1, killed: 1}.worse())
}

func TestTallyFindsMessagesInBothUnits(t *testing.T) {
	n := newNotes("a")
	n.sent(1, "a/unit-1/0")
	n.ran("unit-1.channel-1.1", 100, 200, chaos.End, "a/unit-1/0")
	n.ran("unit-2.channel-1.1", 150, 250, chaos.End, "a/unit-1/0")
	n.sent(1, "a/unit-1/1")
	n.ran("unit-1.channel-1.1", 100, 200, chaos.End, "a/unit-1/1")
	n.ran("unit-2.channel-1.1", 200, 250, chaos.End, "a/unit-1/1") // after it
	n.sent(1, "a/unit-1/2")
	n.ran("unit-1.channel-1.1", 100, 200, chaos.End, "a/unit-1/2")
	n.ran("unit-1.channel-2.1", 150, 250, chaos.End, "a/unit-1/2") // in one unit
	got := tally(n.evidence)["a"]
	require.Equal(t, 3, got.repeated)
	require.Equal(t, 1, got.atOnce)
}

func TestTallyPauses(t *testing.T) {
	n := newNotes("a", "b")
	for i, r := range []struct {
		unit string
		from int
	}{{"unit-2", 100}, {"unit-2", 200}, {"unit-1", 450}, {"unit-1", 500}, {"unit-2", 530}} {
		key := fmt.Sprintf("a/unit-1/%d", i)
		n.sent(1, key)
		n.ran(r.unit+".channel-1.1", r.from, r.from+20, chaos.End, key)
	}
	n.ran("unit-2.channel-1.1", 300, 320, chaos.End, "a/unit-1/0") // again
	n.moves = []move{
		{"guangzhou", "unit-1", at(210)},
		{"guangzhou", "unit-2", at(510)},
		{"guangzhou", "unit-1", at(600)}, // nothing was sent any more
		{"beijing", "unit-2", at(110)},   // another city
	}
	require.Equal(t, []time.Duration{250 * time.Millisecond, 30 * time.Millisecond}, tally(n.evidence)["a"].pauses)
	require.Empty(t, tally(n.evidence)["b"].pauses)
}

func TestProgress(t *testing.T) {
	p, n := newProgress(), newNotes("a")
	n.sent(1, "a/unit-1/0")
	n.ran("unit-1.channel-1.1", 2, 3, chaos.End, "a/unit-1/1") // before its producer has noted the answer
	n.sent(4, "a/unit-1/1")
	n.ran("unit-1.channel-1.1", 5, 6, chaos.Fail, "a/unit-1/0")
	for _, l := range n.lines {
		p.add(l)
	}
	require.Equal(t, 1, p.unprocessed("a"))
	require.Equal(t, 0, p.unprocessed("b"))
	require.Equal(t, 2, p.runs["unit-1.channel-1.1"])
	require.Equal(t, at(6), p.at)
}
