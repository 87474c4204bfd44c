package manager_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

func TestASwitchIsAbortedOverHTTP(t *testing.T) {
	w := newWorld(t, &manager.Options{Steps: []msha.Step{switchplan.Approval("operator", time.Hour)}, After: []string{switchplan.Check}})
	close(w.release)
	w.join("unit-1")
	w.join("unit-2")
	events, stop := w.events("")
	defer stop()
	done := w.asks("values=guangzhou")
	for e := range events {
		if e.Kind != switchplan.EventApproval {
			continue
		}
		var f manager.Failure
		require.Equal(t, http.StatusNotFound, w.call("POST", "/orders/x/abort?by=alice", &f))
		require.Contains(t, f.Hint, e.Task)
		require.Equal(t, http.StatusBadRequest, w.call("POST", "/orders/"+e.Task+"/abort?by=alice&step=operator", &f))
		answer := map[string]string{}
		require.Equal(t, http.StatusAccepted, w.call("POST", "/orders/"+e.Task+"/abort?by=alice&note=wrong+unit", &answer))
		require.Equal(t, map[string]string{"task": e.Task, "by": "alice", "note": "wrong unit"}, answer)
		require.Equal(t, http.StatusAccepted, w.call("POST", "/orders/"+e.Task+"/abort?by=bob", &answer), "again")
		break
	}
	r := <-done
	require.Equal(t, http.StatusConflict, r.status)
	require.Contains(t, r.failure.Error, "called off by alice: wrong unit")
	require.Equal(t, switchplan.StateAborted, r.failure.Report.State)
	var orders switchplan.Orders
	require.Equal(t, http.StatusOK, w.call("GET", "/orders", &orders))
	require.Equal(t, &switchplan.CallOff{By: "alice", Note: "wrong unit"}, orders.Orders[0].CalledOff)

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e := range events {
			if e.Kind == switchplan.EventApproval {
				w.call("POST", "/orders/"+e.Task+"/approve?step=operator&by=alice", &struct{}{})
				return
			}
		}
	}()
	var answer manager.Answer
	require.Equal(t, http.StatusOK, w.call("GET", "/switch?values=guangzhou", &answer))
	<-ended
	var f manager.Failure
	require.Equal(t, http.StatusConflict, w.call("POST", "/orders/"+answer.Task+"/abort?by=alice", &f))
	require.Contains(t, f.Error, "its routes have moved")
}

// A broker that the unit document names, and no name server knows, is found before anything stands still.
func TestABrokerThatIsAwayRefusesTheSwitch(t *testing.T) {
	w := newWorld(t, nil)
	close(w.release)
	w.join("unit-1")
	w.join("unit-2")
	for _, unit := range []string{"unit-1", "unit-2"} {
		require.NoError(t, route.UpdateUnits(t.Context(), w.store, func(u *msha.Units) (*msha.Units, error) {
			out := &msha.Units{Units: append([]msha.UnitInfo(nil), u.Units...)}
			for i, info := range out.Units {
				if out.Units[i].Brokers = []string{"broker-" + info.Name}; info.Name == unit {
					out.Units[i].Brokers = []string{"broker-" + info.Name, "broker-b"}
				}
			}
			return out, nil
		}))
		table, err := route.LoadFresh(t.Context(), w.store)
		require.NoError(t, err)
		var forecast switchplan.Forecast
		require.Equal(t, http.StatusOK, w.call("GET", "/switch?values=guangzhou&dry-run=true", &forecast))
		require.False(t, forecast.Ready)
		require.Contains(t, forecast.Problems, "facts.brokers unit "+unit+", brokers broker-b: master not found at the name servers (wait for them, or take them out of the unit document if they are gone for good)")
		var failure manager.Failure
		require.Equal(t, http.StatusConflict, w.call("GET", "/switch?values=guangzhou", &failure))
		require.Contains(t, failure.Error, "broker-b")
		require.Equal(t, switchplan.StateAborted, failure.Report.State)
		require.Empty(t, failure.Report.Phases)
		now, err := route.LoadFresh(t.Context(), w.store)
		require.NoError(t, err)
		require.Equal(t, table.Version, now.Version, "there was no fence")
	}
}
