package metastoretest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACorrectClientPassesTheCuts(t *testing.T) {
	t.Parallel()
	require.Empty(t, failing("", 0, func() Harness { return newLink(flaws{}).harness() }))
	require.Empty(t, failing("", 0, func() Harness {
		h := newLink(flaws{}).harness()
		h.Outside = nil
		return h
	}), "also where no client stays connected")
}

func TestDefectsAfterACutAreFound(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]flaws{
		"a watch does not come back":            {watchStops: true},
		"a watch repeats what it knew":          {watchRepeats: true},
		"an unanswered put is sent once more":   {putRepeated: true},
		"a call outlives its context":           {hangs: true},
		"an expired member is not joined again": {notAnnounced: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found(t, "reconnect", func() Harness { return newLink(f).harness() })
		})
	}
}
