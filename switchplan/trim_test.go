package switchplan

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

// large is an order that moves routes of so many bytes.
func large(id, state string, bytes int) Order {
	plan := msha.Plan{ID: id, Moves: []msha.Move{{Set: "s", NewSet: id, From: "unit-2", To: "unit-1"}}}
	for i := range bytes / 40 {
		value := fmt.Sprintf("%s-%0*d", id, 32-len(id), i)
		plan.Moves[0].Values, plan.Request.Values = append(plan.Moves[0].Values, value), append(plan.Request.Values, value)
	}
	return Order{ID: id, Plan: plan, State: state, Manager: "m", Results: []PhaseResult{{Phase: Check, Note: strings.Repeat("x", 1000)}}}
}

func ids(o *Orders) (out []string) {
	for _, order := range o.Orders {
		out = append(out, order.ID)
	}
	return out
}

func TestANewOrderAlwaysFits(t *testing.T) {
	store := memory.New()
	any := func(*Orders) error { return nil }
	for i := range 25 {
		id := fmt.Sprintf("order-%02d", i)
		require.NoError(t, create(t.Context(), store, large(id, StateRunning, 150_000), any), id)
		require.NoError(t, updateOrders(t.Context(), store, func(o *Orders) error {
			o.find(id).State = StateDone
			return nil
		}))
		all, err := ReadOrders(t.Context(), store)
		require.NoError(t, err)
		last := all.Orders[len(all.Orders)-1]
		require.Equal(t, id, last.ID, "the newest stays")
		require.NotEmpty(t, last.Plan.Moves[0].Values, "with what it moved")
	}
	big := large("big", StateRunning, 400_000) // 800 kB with the request
	require.NoError(t, create(t.Context(), store, big, any))
	all, err := ReadOrders(t.Context(), store)
	require.NoError(t, err)
	require.Equal(t, []string{"big"}, ids(all), "what runs is not touched, whatever its size")
	require.Equal(t, big.Plan.Request.Values, all.find("big").Plan.Request.Values)
}

func TestWhatIsTrimmedFirst(t *testing.T) {
	aborted, replay := large("aborted", StateAborted, 60_000), large("replay", StateDone, 60_000)
	replay.Plan.Request.Replay = &msha.Replay{Group: "g", Since: time.Now()}
	o := &Orders{Orders: []Order{large("old", StateDone, 60_000), aborted, replay, large("waits", StateCommitted, 60_000), large("new", StateDone, 60_000)}}
	before, err := json.Marshal(o)
	require.NoError(t, err)
	require.Greater(t, len(before), keepBytes)
	o.trim()
	require.Equal(t, []string{"old", "aborted", "replay", "waits", "new"}, ids(o), "without the details of the oldest there is room")
	require.Empty(t, o.find("old").Results)
	require.NotEmpty(t, o.find("new").Results)
	require.NotEmpty(t, o.find("waits").Results)

	o.Orders = append(o.Orders, large("next", StateRunning, 150_000))
	o.trim()
	require.Equal(t, []string{"old", "waits", "new", "next"}, ids(o), "the least interval counts from what moved")
	e := &Executor{o: Options{Guards: Guards{MinInterval: time.Hour}}, movedAt: map[string]movedOrder{}}
	again := large("again", StateRunning, 0)
	again.Plan.Moves[0].Values = o.find("old").Plan.Moves[0].Values[:1]
	require.Len(t, e.recent(&again.Plan, o), 1, "also of one whose details are gone")

	o.Orders = append(o.Orders, large("last", StateRunning, 150_000))
	o.trim()
	require.Equal(t, []string{"waits", "next", "last"}, ids(o)[len(ids(o))-3:], "what is not finished stays")
	small := &Orders{Orders: []Order{large("a", StateDone, 100), large("b", StateAborted, 100)}}
	small.trim()
	require.NotEmpty(t, small.Orders[0].Results, "a small document keeps everything")
}
