package e2e

import (
	"flag"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// outage is how long metastore servers stay dead.
var outage = flag.Duration("e2e.outage", 20*time.Second, "how long the metastore's server is dead in TestMetastoreDown…")

// plannedSwitch moves values there and back, all of a unit and one of them, while messages flow.
func plannedSwitch(t *testing.T, clusters backend, stores storeBackend) {
	w := startOn(t, clusters, stores, ownership, "unit-1", "unit-2")
	for _, unit := range w.names {
		w.join(unit, failing(5))
		w.join(unit, failing(5))
	}
	w.produce("unit-2")("guangzhou", 300)
	stop := w.everywhere(100, "beijing", "guangzhou", "shenzhen")
	w.move("values=guangzhou")
	w.move("values=guangzhou")
	w.move("from=unit-2")
	w.move("values=guangzhou,shenzhen")
	stop()
	w.exact(w.settled())
	w.ordered()
	w.audited(w.names...)
}

// everywhere produces rate messages a second in every unit.
func (w *world) everywhere(rate int, values ...string) (stop func()) {
	w.Helper()
	var stops []func()
	for _, unit := range w.names {
		stops = append(stops, w.steadily(unit, rate, values...))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// metastoreDown: with the metastore dead, what nobody moves is processed and copied on, and a switch is refused without having begun
// anything; once it is back a switch works.
func metastoreDown(t *testing.T, clusters backend, stores storeBackend, dead time.Duration) {
	w := startOn(t, clusters, stores, ownership, "unit-1", "unit-2")
	for _, unit := range w.names {
		w.join(unit, failing(5))
		w.join(unit, failing(5))
	}
	stop := w.everywhere(100, "beijing", "guangzhou")
	w.move("values=guangzhou")
	w.server.kill()
	killed := time.Now()
	status, _, failure := w.tryMove("values=beijing&deadline=2s")
	require.GreaterOrEqual(t, status, http.StatusInternalServerError, "%+v", failure)
	require.NotEmpty(t, failure.Error)
	t.Logf("switch without a metastore: %d %s", status, failure.Error)
	during := w.journal.verdict().Processed
	time.Sleep(time.Until(killed.Add(dead))) // the fault
	stop()
	w.exact(w.settled()) // everything produced until now, with the metastore still dead
	w.ordered()
	after := w.journal.verdict()
	require.Greater(t, after.Processed, during)
	t.Logf("%d messages in %v without a metastore; longest pause between two starts: %v", after.Processed-during, time.Since(killed).Round(time.Second),
		w.journal.longestPause(killed, killed.Add(dead)).Round(time.Millisecond))

	require.NoError(t, w.server.restart(w.ctx))
	w.eventually("the metastore answers again", func() bool {
		_, err := w.store.Get(w.ctx, msha.TableKey)
		return err == nil
	})
	stop = w.everywhere(50, "beijing", "guangzhou")
	w.eventually("a switch works again", func() bool {
		status, _, failure = w.tryMove("values=guangzhou&deadline=5s")
		return status == http.StatusOK
	})
	w.move("from=unit-1&to=unit-2")
	stop()
	w.exact(w.settled())
	w.ordered()
}
