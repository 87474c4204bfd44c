package manager

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// A hand-over written to no broker at all would be committed and found by nobody.
func TestEveryKnownBrokerMustBeRegistered(t *testing.T) {
	for name, c := range map[string]struct {
		known      []string
		registered map[string]string
		missing    string
	}{
		"all":               {[]string{"a", "b"}, map[string]string{"a": "h:1", "b": "h:2"}, ""},
		"more than known":   {[]string{"a"}, map[string]string{"a": "h:1", "b": "h:2"}, ""},
		"one is away":       {[]string{"a", "b"}, map[string]string{"a": "h:1"}, "b"},
		"none registered":   {nil, nil, "unit-1"},
		"an older document": {nil, map[string]string{"a": "h:1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newUnitLog("unit-1", nil, nil)
			l.knows(c.known)
			err := l.present(c.registered)
			if c.missing == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, msha.ErrNotFound)
			require.ErrorContains(t, err, c.missing)
		})
	}
}

// A unit that does not answer is asked with its log locked. Whoever looks the unit up meanwhile holds what all units' look-ups need.
func TestLookUpDoesNotWaitForTheLog(t *testing.T) {
	l := newUnitLog("unit-1", nil, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	done := make(chan error)
	for range 2 {
		go func() {
			l.knows([]string{"a"})
			done <- l.present(map[string]string{"a": "h:1"})
		}()
	}
	for range 2 {
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			require.Fail(t, "looking a unit up waits for whoever reads its log")
		}
	}
}
