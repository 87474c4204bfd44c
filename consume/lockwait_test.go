package consume

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALockThatRanOutIsNotWaitedForAgain(t *testing.T) {
	now := time.Now()
	e := &Engine{cfg: Config{Now: func() time.Time { return now }}, limits: limits{lock: time.Minute}}
	for name, c := range map[string]struct {
		refused time.Duration // ago; 0: never
		wait    time.Duration
	}{
		"granted at once: the broker may have begun anew": {0, time.Minute},
		"refused for a while":                             {20 * time.Second, 40 * time.Second},
		"refused until it ran out":                        {61 * time.Second, 0},
	} {
		h := &held{}
		if c.refused > 0 {
			h.refusedSince = now.Add(-c.refused)
		}
		require.Equal(t, c.wait, e.lockWait(h), name)
	}
	gone := make(chan struct{})
	require.False(t, refusal{}.stands(), "no connection was known")
	require.True(t, refusal{gone: gone}.stands())
	close(gone)
	require.False(t, refusal{gone: gone}.stands(), "the connection has ended since")
}
