package filter

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// replayed is the fold of unit-1's log, in which set "s" has processed 0 to 9 of queue1 and 20 to 24 of queue2, after a replay.
func replayed(t *testing.T, again Again) (*HandOver, *Facts) {
	t.Helper()
	log := []Record{
		begins(queue1, 0), begins(queue2, 20), did(1, queue1, Range(0, 10), 12), did(1, queue2, Range(20, 25), 25),
		{Kind: Baseline, Group: "other", Queue: queue1}, {Kind: Done, Group: "other", Set: "s", Term: 1, Queue: queue1, Spans: Range(0, 12), Next: 12},
	}
	fenced, moves := moving("unit-1", "unit-1", 1, "")
	h, err := RemainingAgain(logOf(log...), fenced, moves, []string{"g"}, again)
	require.NoError(t, err)
	return h, logOf(append(log, h.Records...)...)
}

func TestAReplayAddsWhatWasDone(t *testing.T) {
	h, f := replayed(t, Again{Group: "g", Ranges: map[msha.OriginQueue]Offsets{queue1: Range(4, 8), queue2: From(0)}})
	key, hash := Key{"s", 2}, h.Hashes["s"]
	g := f.Group("g")
	got, ok := g.Remaining(key, hash, queue1)
	require.True(t, ok)
	require.Equal(t, offsets(Span{4, 8}, Span{10, End}), got, "what was asked for, and what had not been done")
	got, ok = g.Remaining(key, hash, queue2)
	require.True(t, ok)
	require.Equal(t, From(20), got, "not below the baseline")
	got, ok = f.Group("other").Remaining(key, hash, queue1)
	require.True(t, ok)
	require.Equal(t, From(12), got, "another group repeats nothing")
	require.EqualValues(t, 4+5, h.Repeated)
	require.EqualValues(t, 4+2+5, h.Count, "with what had been pulled and left")

	// The term that is replayed is at an end, and the next one counts what is done again.
	key1, _ := g.Remaining(Key{"s", 1}, "", queue1)
	require.Equal(t, From(0), key1)
	more(f, slices.Concat(h.Records, []Record{did(2, queue1, offsets(Span{4, 8}), 12)})...)
	_, pending, _ := f.Progress(key, hash, nil, func(string) bool { return true })
	require.EqualValues(t, 2+5, pending)
}

func TestAReplayOfWhatIsStillToDo(t *testing.T) {
	plain, _ := replayed(t, Again{})
	h, _ := replayed(t, Again{Group: "g", Ranges: map[msha.OriginQueue]Offsets{queue1: Range(10, 50)}})
	require.Zero(t, h.Repeated)
	require.Equal(t, plain.Hashes, h.Hashes, "nothing is added")
}
