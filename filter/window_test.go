package filter

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWindowNeverCommitsBeyondWhatIsNotAcknowledged(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var w Window
		open, next := map[int64]bool{}, int64(7)
		for range 100 {
			if rng.IntN(2) == 0 {
				next += int64(rng.IntN(3)) // filtered by the broker
				w.Add(next)
				open[next] = true
				next++
			} else {
				offset := rng.Int64N(next + 2)
				w.Acknowledge(offset)
				delete(open, offset)
			}
			want := next
			for offset := range open {
				want = min(want, offset)
			}
			require.Equal(t, want, w.Committable(next))
			require.GreaterOrEqual(t, w.Len(), len(open))
			require.Equal(t, len(open) == 0, w.Len() == 0)
		}
	}
}
