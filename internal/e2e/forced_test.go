package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

// force is move without asking the losing unit.
func (w *world) force(query string) (status int, failure string, possiblyRepeated int64) {
	w.Helper()
	status, answer, f := w.tryMove(query + "&forced=true")
	w.Logf("forced %s: %d, %.0f ms, possibly repeated %d %s", query, status, answer.DurationMS, answer.PossiblyRepeated, f.Error)
	return status, f.Error, answer.PossiblyRepeated
}

// rejoined waits until the unit has been taken back.
func (w *world) rejoined(unit string) {
	w.Helper()
	w.eventually(unit+" rejoins", func() bool {
		t, err := route.LoadFresh(w.ctx, w.store)
		return err == nil && !t.Away(unit)
	})
}

// stuck: a handler that never ends keeps a planned switch from happening. A forced one moves the value all the same; only the message that is
// in the handler runs twice. What the unit still produces waits until its processes have ended or acknowledged: only then is it known what they
// did. The unit rejoins once the handler has ended, and takes its value back.
func stuck(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	w.join("unit-1")
	release := make(chan struct{})
	m := w.join("unit-2", func(m *member) {
		m.fail = func(string, int) bool {
			<-release
			return false
		}
	})
	other, send := w.produce("unit-1"), w.produce("unit-2")
	send("guangzhou", 200)
	w.copied()
	const goroutines = 20 // of a consumer, by default
	w.eventually("all handlers hang", func() bool { return len(w.journal.running()) == goroutines })
	status, failure, _ := w.force("values=guangzhou")
	require.Equal(t, http.StatusConflict, status, "every process is connected")
	require.Contains(t, failure, "needless-force")
	hanging := w.journal.running()
	w.eventually("a dry run knows what may be repeated, by what unit-2 has published and copied", func() bool {
		var f switchplan.Forecast
		status, refused := w.ask(http.MethodGet, "/switch?values=guangzhou&override=needless-force&forced=true&dry-run=true", &f)
		require.Equal(t, http.StatusOK, status, refused)
		require.True(t, f.Ready, f.String())
		return f.Forced.Repeated >= int64(len(hanging)) && f.Forced.Pending >= int64(len(hanging))
	})
	status, failure, possibly := w.force("values=guangzhou&override=needless-force")
	require.Equal(t, http.StatusOK, status, failure)
	other("guangzhou", 50)
	send("guangzhou", 50)
	w.eventually("unit-1 goes on", func() bool { return w.journal.verdict().Processed == 250 })
	v := w.journal.verdict()
	require.Equal(t, 250, v.ByUnit["unit-1"])
	require.GreaterOrEqual(t, possibly, int64(len(hanging)))
	close(release)
	w.rejoined("unit-2")
	send("guangzhou", 50)
	v = w.settled()
	require.Zero(t, v.Lost, v.String())
	require.Equal(t, len(hanging), v.Repeated, "what was in the handlers: %v", v)
	w.move("values=guangzhou")
	send("guangzhou", 50)
	after := w.settled()
	require.Zero(t, after.Lost, after.String())
	require.Equal(t, v.Repeated, after.Repeated, after.String())
	m.leave()
}

// isolated: a unit loses its way to the metastore and to the other unit, and works on (promise P6). Its value is taken away by force; when it
// is back, all that it did meanwhile counts, and what it had not copied is processed once.
func isolated(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	w.join("unit-1")
	m := w.join("unit-2")
	one, two := w.produce("unit-1"), w.produce("unit-2")
	one("guangzhou", 100)
	two("guangzhou", 100)
	w.exact(w.settled())
	w.copied()

	m.way.cut()
	w.copying["unit-2"]()
	w.copying["unit-1"]()
	two("guangzhou", 300) // finished and not copied
	w.eventually("unit-2 goes on", func() bool { return w.journal.verdict().ByUnit["unit-2"] == 500 })
	status, failure, _ := w.force("values=guangzhou&override=needless-force")
	require.Equal(t, http.StatusOK, status, failure)
	one("guangzhou", 100)
	w.eventually("unit-1 goes on", func() bool { return w.journal.verdict().ByUnit["unit-1"] == 100 })
	two("guangzhou", 100)
	w.eventually("unit-2 does not know", func() bool { return w.journal.verdict().ByUnit["unit-2"] == 600 })
	before := w.journal.verdict()
	require.Zero(t, before.Repeated, before.String())

	m.down.Store(true) // what unit-2 does from now on fails
	two("guangzhou", 200)
	w.replicate("unit-1")
	w.replicate("unit-2")
	w.eventually("unit-2 fails", func() bool { return w.journal.verdict().Failed > 0 })
	m.way.heal()
	w.rejoined("unit-2")
	one("guangzhou", 50)
	two("guangzhou", 50)
	v := w.settled()
	require.Zero(t, v.Lost, v.String())
	require.Zero(t, v.Repeated, v.String())
	require.Equal(t, 600, v.ByUnit["unit-2"], v.String())
	m.down.Store(false)
	w.move("values=guangzhou")
	one("guangzhou", 50)
	two("guangzhou", 50)
	v = w.settled()
	require.Zero(t, v.Lost+v.Repeated, v.String())
	require.Equal(t, 700, v.ByUnit["unit-2"], v.String())
	w.audited(w.names...)
}

// strictIsolated: in Strict mode a unit that has lost its way to the metastore stops by itself, and the forced switch waits for that: nothing
// is processed twice, and no two units process a value at one time.
func strictIsolated(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	const gate = 3 * time.Second
	strict := func(m *member) { m.strict, m.gate = true, gate }
	w.manage(&manager.Options{GateWindow: gate})
	w.join("unit-1", strict)
	m := w.join("unit-2", strict)
	one, two := w.produce("unit-1"), w.produce("unit-2")
	one("guangzhou", 50)
	two("guangzhou", 50)
	w.exact(w.settled())
	w.copied()
	m.way.cut()
	w.copying["unit-2"]()
	two("guangzhou", 50)
	status, failure, _ := w.force("values=guangzhou&override=needless-force")
	require.Equal(t, http.StatusOK, status, failure)
	done := w.journal.verdict().ByUnit["unit-2"]
	two("guangzhou", 50)
	one("guangzhou", 50)
	w.eventually("unit-1 goes on", func() bool { return w.journal.verdict().ByUnit["unit-1"] == 50 })
	require.Equal(t, done, w.journal.verdict().ByUnit["unit-2"], "unit-2 has stopped")
	w.replicate("unit-2")
	m.way.heal()
	w.rejoined("unit-2")
	w.exact(w.settled())
	w.move("values=guangzhou")
	two("guangzhou", 50)
	w.exact(w.settled())
}
