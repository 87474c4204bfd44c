package manager_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

// byHand is a manager that takes no unit back by itself.
func byHand() *manager.Options { return &manager.Options{ResumeAfter: time.Hour} }

func TestForcedParameter(t *testing.T) {
	w := newWorld(t, byHand())
	close(w.release)
	w.join("unit-1")
	w.join("unit-2")
	before := w.revisions()
	for query, says := range map[string]string{
		"forced=perhaps": "forced=perhaps", "forced=true&forced=true": "repeated parameter", "force=true": "unknown parameter", "forced=true&override=needless": "needless-force, missing-facts",
	} {
		var failure manager.Failure
		require.Equal(t, http.StatusBadRequest, w.call("GET", "/switch?values=guangzhou&"+query, &failure), query)
		require.Contains(t, failure.Error+failure.Hint, says)
	}
	for query, refused := range map[string]bool{"": false, "&forced=false": false, "&forced=true": true, "&forced=1": true} {
		var f switchplan.Forecast
		require.Equal(t, http.StatusOK, w.call("POST", "/switch?values=guangzhou&dry-run=true"+query, &f))
		hit := false
		for _, g := range f.Guards {
			hit = hit || g.Guard == switchplan.GuardNeedless
		}
		require.Equal(t, refused, hit, "%q: %+v", query, f)
	}
	require.Equal(t, before, w.revisions())
}

func TestRejoinParameters(t *testing.T) {
	w := newWorld(t, &manager.Options{ResumeAfter: time.Hour, Who: func(*http.Request) string { return "somebody" }})
	close(w.release)
	before := w.revisions()
	for query, c := range map[string]struct {
		status int
		says   string
	}{
		"":                          {http.StatusBadRequest, "name the unit that is back"},
		"?unit=":                    {http.StatusBadRequest, "empty parameter"},
		"?unit=unit-2&lost=perhaps": {http.StatusBadRequest, "lost=perhaps"},
		"?unit=unit-2&force=true":   {http.StatusBadRequest, "unknown parameter"},
		"?unit=unit-2&unit=unit-1":  {http.StatusBadRequest, "repeated parameter"},
		"?unit=unit-2&by=alice":     {http.StatusBadRequest, "finds out by itself"},
		"?unit=unit-9":              {http.StatusNotFound, "unit-1, unit-2"},
	} {
		var failure manager.Failure
		require.Equal(t, c.status, w.call("POST", "/rejoin"+query, &failure), query)
		require.Contains(t, failure.Error, c.says, query)
		require.NotEmpty(t, failure.Hint)
	}
	for _, query := range []string{"?unit=unit-2", "?unit=unit-1&lost=false", "?unit=unit-2&lost=true"} {
		var answer map[string]json.RawMessage
		require.Equal(t, http.StatusOK, w.call("POST", "/rejoin"+query, &answer))
		require.Len(t, answer, 3, "%s", answer)
		require.Equal(t, "[]", string(answer["sets"]), "the unit is not away")
		require.Equal(t, "0", string(answer["repeated"]))
	}
	resp, err := http.Get(w.server.URL + "/rejoin?unit=unit-2")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	require.Equal(t, before, w.revisions())
}

// take makes unit-1 take guangzhou from unit-2, where no handler ends, by force; 30 messages are copied.
func (w *world) take() manager.Answer {
	w.join("unit-1")
	w.join("unit-2")
	w.Cleanup(func() { // before the consumers are closed
		select {
		case <-w.release:
		default:
			close(w.release)
		}
	})
	w.send("unit-2", "guangzhou", 30)
	w.eventually("baselines and copies are there", func() bool {
		var f switchplan.Forecast
		require.Equal(w, http.StatusOK, w.call("GET", "/switch?values=guangzhou&dry-run=true", &f))
		if len(f.Moves[0].Groups) == 0 || len(f.Lag) != 1 || f.Lag[0].Messages != 0 {
			return false
		}
		g := f.Moves[0].Groups[0]
		return g.Pending+g.Retrying+g.Backlog == 30
	})
	var answer manager.Answer
	require.Equal(w, http.StatusOK, w.call("GET", "/switch?values=guangzhou&forced=true&override=needless-force&by=alice", &answer))
	return answer
}

func (w *world) table() *msha.Table {
	table, err := route.LoadFresh(w.Context(), w.store)
	require.NoError(w, err)
	return table
}

func TestAUnitThatHangsLosesItsRoutesAndRejoins(t *testing.T) {
	w := newWorld(t, &manager.Options{ResumeAfter: time.Hour, TakeOverTimeout: 100 * time.Millisecond})
	answer := w.take()
	require.EqualValues(t, 30, answer.PossiblyRepeated, "all of them are copied, and nobody knows what unit-2 did")
	require.Equal(t, []string{"guangzhou"}, answer.Moved)
	require.True(t, w.table().Away("unit-2"))
	set, _ := w.table().Lookup("guangzhou", "")
	require.Equal(t, "unit-1", set.Owner)

	var failure manager.Failure
	require.Equal(t, http.StatusBadRequest, w.call("GET", "/switch?values=guangzhou&to=unit-2", &failure))
	require.Contains(t, failure.Error, "has not rejoined")

	// Its handlers do not end, so it is not back: the request waits as long as the client does.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := w.manager.Rejoin(ctx, "unit-2", false)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, msha.ErrNotConfirmed)

	w.send("unit-2", "guangzhou", 5) // the routes are not its own any more
	close(w.release)
	var back switchplan.Rejoined
	require.Equal(t, http.StatusOK, w.call("POST", "/rejoin?unit=unit-2", &back))
	require.Equal(t, "unit-2", back.Unit)
	require.Len(t, back.Sets, 1)
	require.Empty(t, back.Gone)
	require.LessOrEqual(t, back.Repeated, int64(30))
	require.False(t, w.table().Away("unit-2"))
	after, _ := w.table().Lookup("guangzhou", "")
	require.Equal(t, "unit-1", after.Owner)
	require.Equal(t, set.Term, after.Term)
	require.NotEqual(t, set.RemainingHash, after.RemainingHash)
	require.Equal(t, http.StatusOK, w.call("POST", "/rejoin?unit=unit-2", &back))
	require.Empty(t, back.Sets, "once is enough")

	w.eventually("nothing is left", func() bool {
		var f switchplan.Forecast
		require.Equal(t, http.StatusOK, w.call("GET", "/switch?values=guangzhou&dry-run=true", &f))
		if len(f.Moves[0].Groups) == 0 || f.Lag[0].Messages != 0 {
			return false
		}
		g := f.Moves[0].Groups[0]
		return g.Pending+g.Retrying+g.Backlog == 0 && w.handled.Load() >= 35
	})
	require.LessOrEqual(t, w.handled.Load(), 35+back.Repeated+answer.PossiblyRepeated)
	require.Equal(t, http.StatusOK, w.call("GET", "/switch?values=guangzhou&to=unit-2", &answer))
	require.Equal(t, switchplan.StateDone, answer.State)
}

func TestAManagerTakesUnitsBackByItself(t *testing.T) {
	w := newWorld(t, &manager.Options{ResumeAfter: 100 * time.Millisecond, TakeOverTimeout: 100 * time.Millisecond})
	w.take()
	require.True(t, w.table().Away("unit-2"))
	close(w.release)
	w.eventually("unit-2 is back", func() bool { return !w.table().Away("unit-2") })
}

func TestAUnitIsGivenUp(t *testing.T) {
	w := newWorld(t, &manager.Options{ResumeAfter: time.Hour, TakeOverTimeout: 100 * time.Millisecond})
	w.take()
	written := w.written("unit-2")
	var back switchplan.Rejoined
	require.Equal(t, http.StatusOK, w.call("POST", "/rejoin?unit=unit-2&lost&by=bob", &back))
	require.Equal(t, 1, w.log.Count("the facts of a lost unit are given up"), "it leaves a trace")
	require.Contains(t, w.log.String(), "unit=unit-2 by=bob")
	require.Contains(t, w.log.String(), "factsGivenUp=true repeated=0 by=bob")
	require.Len(t, back.Sets, 1)
	require.Zero(t, back.Repeated, "nobody knows what it did")
	require.False(t, w.table().Away("unit-2"))
	require.Equal(t, written, w.written("unit-2"), "its log gets nothing")
}

func TestAClosedManagerTakesNoUnitBack(t *testing.T) {
	w := newWorld(t, &manager.Options{ResumeAfter: time.Hour, TakeOverTimeout: 100 * time.Millisecond})
	w.take()
	failed := make(chan error, 1)
	entered := make(chan struct{})
	go func() {
		close(entered)
		_, err := w.manager.Rejoin(context.Background(), "unit-2", false)
		failed <- err
	}()
	<-entered
	w.eventually("it waits", func() bool { return w.written("unit-2") > 0 })
	begun := time.Now()
	require.NoError(t, w.manager.Close())
	require.Less(t, time.Since(begun), time.Minute, "it waits for no unit")
	require.ErrorIs(t, <-failed, context.Canceled)
	_, err := w.manager.Rejoin(t.Context(), "unit-2", false)
	require.ErrorIs(t, err, msha.ErrClosed)
}
