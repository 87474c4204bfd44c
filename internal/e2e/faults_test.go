package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// aborted: a handler that does not end keeps its unit's agents from acknowledging; the switch gives up at its deadline, names the
// agent, and the old owner goes on as if nothing had been. The next switch works.
func aborted(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	w.join("unit-1")
	release := make(chan struct{})
	stuck := w.join("unit-2", func(m *member) {
		m.fail = func(key string, attempt int) bool {
			<-release
			return false
		}
	})
	send := w.produce("unit-2")
	send("guangzhou", 100)
	w.eventually("handlers hang", func() bool { return len(w.journal.running()) > 0 })
	status, _, failure := w.tryMove("values=guangzhou&deadline=5s")
	require.Equal(t, http.StatusGatewayTimeout, status, failure.Error)
	require.Contains(t, failure.Error, "unit-2", "names who did not acknowledge")
	require.Contains(t, failure.Error, "aborted")
	close(release)
	send("guangzhou", 100)
	v := w.settled()
	w.exact(v)
	require.Equal(t, 200, v.ByUnit["unit-2"])
	send("guangzhou", 50)
	w.move("values=guangzhou")
	send("guangzhou", 50)
	w.exact(w.settled())
	stuck.leave()
}

// brokerKilled: a broker is killed and comes back while messages flow and values move.
func brokerKilled(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	for _, unit := range w.names {
		w.join(unit, failing(5), slow(2*time.Millisecond))
		w.join(unit, failing(5), slow(2*time.Millisecond))
	}
	var stops []func()
	for _, unit := range w.names {
		stops = append(stops, w.steadily(unit, 100, "beijing", "guangzhou"))
	}
	time.Sleep(time.Second)
	require.NoError(t, w.sites["unit-2"].Kill("broker-unit-2"))
	time.Sleep(2 * time.Second)
	require.NoError(t, w.sites["unit-2"].restart("broker-unit-2"))
	w.move("values=guangzhou")
	require.NoError(t, w.sites["unit-1"].Kill("broker-unit-1"))
	require.NoError(t, w.sites["unit-1"].restart("broker-unit-1"))
	w.move("values=guangzhou")
	time.Sleep(time.Second)
	for _, stop := range stops {
		stop()
	}
	w.exact(w.settled())
	w.ordered()
	w.audited(w.names...)
}
