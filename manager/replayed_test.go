package manager_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

// A replay processes what can be had, and says what cannot.
func TestReplayWithoutAllOfItsMessages(t *testing.T) {
	w := newWorld(t, nil)
	close(w.release)
	var provisioned manager.Provisioned
	require.Equal(t, http.StatusOK, w.call("POST", "/provision?unit=unit-2&group="+group+"&topics="+topic+"&start=first&by=carol", &provisioned))
	require.Contains(t, w.log.String(), "by=carol", "who asked")
	w.join("unit-1")
	w.send("unit-1", "beijing", 10)
	w.send("unit-2", "beijing", 6)
	w.eventually("processed", func() bool { return w.handled.Load() == 16 })
	const replay = "/replay?values=beijing&group=" + group + "&since=1h"
	var forecast manager.ReplayForecast
	w.eventually("and published", func() bool {
		forecast = manager.ReplayForecast{}
		return w.call("POST", replay+"&dry-run", &forecast) == http.StatusOK && forecast.Again == 16
	})
	require.Equal(t, &manager.ReplaySources{Units: []string{"unit-1", "unit-2"}}, forecast.Replay)

	// The oldest messages expire.
	home := func(unit string) msha.OriginQueue {
		return msha.OriginQueue{Unit: unit, Broker: "broker-" + unit, Topic: topic}
	}
	require.NoError(t, w.brokers["unit-1"].RaiseMinOffset(remoting.Queue{Topic: topic, Broker: "broker-unit-1"}, 4))
	before := w.revisions()
	var failure manager.Failure
	require.Equal(t, http.StatusConflict, w.call("POST", replay, &failure))
	require.Contains(t, failure.Error, home("unit-1").String()+" (from ")
	require.Contains(t, failure.Error, "offset 4")
	require.Contains(t, failure.Hint, "partial=true")
	require.Equal(t, http.StatusOK, w.call("POST", replay+"&dry-run", &forecast))
	require.False(t, forecast.Ready)
	require.Len(t, forecast.Problems, 1)
	require.Equal(t, before, w.revisions(), "nothing has changed")
	replayed := w.handled.Load()
	ask := func(query string, messages int64) manager.ReplaySources {
		var answer manager.ReplayAnswer
		var raw struct {
			manager.ReplayAnswer
			manager.Failure
		}
		require.Equal(t, http.StatusOK, w.call("POST", replay+"&partial"+query, &raw), "%+v", raw.Failure)
		answer = raw.ReplayAnswer
		require.Equal(t, switchplan.StateDone, answer.State)
		replayed += messages
		w.eventually("processed once more", func() bool { return w.handled.Load() >= replayed })
		require.Equal(t, replayed, w.handled.Load())
		return *answer.Replay
	}
	sources := ask("", 12)
	require.Len(t, sources.Expired, 1)
	require.Equal(t, home("unit-1"), sources.Expired[0].Queue)
	require.EqualValues(t, 4, sources.Expired[0].Offset)
	require.WithinDuration(t, time.Now(), sources.Expired[0].Oldest, time.Hour)
	require.Empty(t, sources.Gone)

	// A unit is away.
	require.NoError(t, w.brokers["unit-2"].Kill("broker-unit-2"))
	before = w.revisions()
	require.Equal(t, http.StatusGatewayTimeout, w.call("POST", replay+"&partial", &failure))
	require.Contains(t, failure.Error, "unit unit-2")
	require.Contains(t, failure.Hint, "units=unit-1")
	require.Equal(t, http.StatusBadRequest, w.call("POST", replay+"&partial&units=unit-9", &failure))
	require.Contains(t, failure.Error, "units=unit-9")
	require.Equal(t, before, w.revisions(), "nothing has changed")
	sources = ask("&units=unit-1", 6)
	require.Equal(t, []string{"unit-1"}, sources.Units)

	// A unit is gone for good.
	w.stopCopying["unit-2"]()
	require.NoError(t, route.UpdateUnits(t.Context(), w.store, func(units *msha.Units) (*msha.Units, error) {
		return &msha.Units{Units: units.Units[:1]}, nil
	}))
	sources = ask("", 6)
	require.Equal(t, []msha.OriginQueue{home("unit-2")}, sources.Gone)
	require.Equal(t, []string{"unit-1"}, sources.Units)
	require.Contains(t, w.log.String(), "replay: not all that was asked for is there")
}
