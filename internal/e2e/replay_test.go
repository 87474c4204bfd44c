package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/switchplan"
)

// replay: what a route got in a span of time is processed once more, by its owner of today, while messages flow and handlers fail: each of these
// messages once, and no other one. After that the route moves as ever.
func replay(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	for _, unit := range w.names {
		w.join(unit, failing(10))
		w.join(unit, failing(10))
	}
	batch := func(n int) map[string]bool {
		known := w.keys()
		for _, unit := range w.names {
			send := w.produce(unit)
			send("guangzhou", n)
			send("beijing", n/2)
		}
		w.exact(w.settled())
		fresh := w.keys()
		for key := range known {
			delete(fresh, key)
		}
		return fresh
	}
	before := batch(40)
	since := apart()
	chosen := batch(100)
	until := apart()
	batch(40)

	w.refuse("values=guangzhou&since=1h", 400, "needs a group")
	w.refuse("values=guangzhou&group=nobody&since=1h", 400, "no facts of the group")
	w.refuse("values=guangzhou&group="+w.group, 400, "time it begins")
	w.refuse("values=guangzhou&group="+w.group+"&since=yesterday", 400, "no time")
	w.refuse("values=guangzhou&group="+w.group+"&since=1h&to=unit-1", 400, "unknown parameter")
	w.exact(w.settled())

	var stops []func()
	for _, unit := range w.names {
		stops = append(stops, w.steadily(unit, 100, "guangzhou", "beijing"))
	}
	span := "values=guangzhou&group=" + w.group + "&since=" + url.QueryEscape(since) + "&until=" + url.QueryEscape(until)
	var forecast switchplan.Forecast
	status, failure := w.ask(http.MethodPost, "/replay?"+span+"&dry-run=true", &forecast)
	require.Equal(t, 200, status, failure.Error)
	require.EqualValues(t, len(chosen), forecast.Again, "messages of other routes are among them")
	answer := w.replay(span)
	require.EqualValues(t, len(chosen), answer.PossiblyRepeated)
	w.move("values=guangzhou")
	w.move("values=guangzhou")
	for _, stop := range stops {
		stop()
	}
	again := func(key string) int {
		if chosen[key] && strings.Contains(key, "guangzhou") {
			return 1
		}
		return 0
	}
	w.repeatedAs(again)

	// Once more, by another owner, and from the beginning to the first of the others.
	w.move("values=guangzhou")
	w.replay("values=guangzhou&group=" + w.group + "&topics=" + w.topic + "&since=1h&until=" + url.QueryEscape(since))
	w.repeatedAs(func(key string) int {
		if before[key] && strings.Contains(key, "guangzhou") {
			return 1
		}
		return again(key)
	})
}

// apart is now, and some time from what was before and what is to come: brokers count milliseconds.
func apart() string {
	time.Sleep(20 * time.Millisecond)
	defer time.Sleep(20 * time.Millisecond)
	return time.Now().UTC().Format(time.RFC3339Nano)
}

func (w *world) refuse(query string, want int, says string) {
	w.Helper()
	status, failure := w.ask(http.MethodPost, "/replay?"+query, &manager.Answer{})
	require.Equal(w, want, status, failure.Error)
	require.Contains(w, failure.Error, says)
}

// replay asks for a replay and waits until all of it is processed.
func (w *world) replay(query string) (answer manager.Answer) {
	w.Helper()
	status, failure := w.ask(http.MethodPost, "/replay?"+query+"&deadline=60s", &answer)
	require.Equal(w, 200, status, failure.Error)
	return answer
}

// repeatedAs checks when all is at rest that each message was processed once, and so often more.
func (w *world) repeatedAs(more func(key string) int) {
	w.Helper()
	want := 0
	for key := range w.keys() {
		want += more(key)
	}
	w.eventually("processed once more", func() bool { return w.journal.verdict().Repeated >= want })
	v := w.settled()
	require.Zero(w, v.Lost, v)
	require.Equal(w, want, v.Repeated, v)
	require.Empty(w, v.Twice, v)
	w.journal.mu.Lock()
	defer w.journal.mu.Unlock()
	for key, runs := range w.journal.runs {
		ok := 0
		for _, r := range runs {
			if r.ok {
				ok++
			}
		}
		require.Equal(w, 1+more(key), ok, fmt.Sprint(key, runs))
	}
}

func TestReplay(t *testing.T) { t.Parallel(); replay(t, onEmbedded) }
