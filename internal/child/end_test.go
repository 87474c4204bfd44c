package child_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTerminateAsksAndErrSaysHowItEnded(t *testing.T) {
	for script, how := range map[string]string{
		`trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done`: "",
		`trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done`:           "exit status 3",
		`echo ready; exec sleep 600`:                                             "signal: terminated",
	} {
		p := start(t, script)
		require.NoError(t, p.Await(testContext(t), prints(p, "ready")))
		require.NoError(t, p.Err(), "it runs")
		require.NoError(t, p.Terminate())
		select {
		case <-p.Exited():
		case <-testContext(t).Done():
			t.Fatalf("still running: %s", script)
		}
		if how == "" {
			require.NoError(t, p.Err())
			require.Contains(t, string(p.Tail()), "bye")
		} else {
			require.EqualError(t, p.Err(), how)
		}
		require.NoError(t, p.Terminate(), "it has ended")
	}
	p := start(t, "exec sleep 600")
	p.Kill()
	require.EqualError(t, p.Err(), "signal: killed")
}
