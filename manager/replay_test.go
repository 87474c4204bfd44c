package manager

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestSearch(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		low := rnd.Int64N(50)
		high := low + rnd.Int64N(50)
		want := low + rnd.Int64N(high-low+1)
		guess := rnd.Int64N(120) - 10
		probes := 0
		got, err := search(low, high, guess, func(offset int64) (bool, error) {
			require.True(t, low <= offset && offset < high, "offset %d of [%d, %d)", offset, low, high)
			probes++
			return offset < want, nil
		})
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.LessOrEqual(t, probes, 2+6)
		if guess == want {
			require.LessOrEqual(t, probes, 2, "a good guess is only checked")
		}
	}
	cut := errors.New("cut off")
	_, err := search(0, 10, 5, func(int64) (bool, error) { return false, cut })
	require.ErrorIs(t, err, cut)
}

func TestReplayParameters(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	parse := func(query string) (msha.SwitchRequest, error) {
		q, err := replayParameters.parse(query)
		if err != nil {
			return msha.SwitchRequest{}, err
		}
		return parseReplay(q, now)
	}
	req, err := parse("values=a,b&group=g&topics=T,U&units=unit-1&since=90m&until=2026-05-04T11:00:00.5%2B01:00&partial&dry-run=true&deadline=5s&by=alice")
	require.NoError(t, err)
	require.Equal(t, now.Add(-90*time.Minute), req.Replay.Since)
	require.True(t, req.Replay.Until.Equal(time.Date(2026, 5, 4, 10, 0, 0, 5e8, time.UTC)), req.Replay.Until)
	req.Replay.Since, req.Replay.Until = time.Time{}, time.Time{}
	replay := &msha.Replay{Group: "g", Topics: []string{"T", "U"}, Units: []string{"unit-1"}, Partial: true}
	require.Equal(t, msha.SwitchRequest{Values: []string{"a", "b"}, Deadline: 5 * time.Second, Replay: replay}, req)

	for query, says := range map[string]string{
		"group=g&since=-5m": "no time", "group=g&since=noon": "how long it is ago", "since=1h&until=x": "until=x", "forced=true": "unknown parameter", "to=unit-1": "unknown parameter",
		"group=g&group=h": "give it once", "deadline=0s": "positive duration", "group=g&since=": "empty parameter", "units=": "empty parameter",
	} {
		_, err := parse(query)
		require.ErrorIs(t, err, msha.ErrInvalid, query)
		require.ErrorContains(t, err, says, query)
	}
}
