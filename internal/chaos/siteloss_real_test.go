//go:build real

package chaos

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/route"
)

var (
	finished = flag.Int("chaos.finished", 5_000, "messages that the lost unit of TestSiteLost has finished and not copied")
	stranded = flag.Int("chaos.stranded", 10_000, "messages that it has neither finished nor copied")
)

// TestSiteLost kills everything of a unit: brokers, name server, agents, replicator and manager, and the one member of the metastore's three
// that is at its site. Its values move by force and are processed in
// the other unit at once. Later the unit comes back with messages that it had finished and nobody else has, and with many more that
// nobody has seen: none of the former runs again, each of the latter runs once.
func TestSiteLost(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	w := start(t, ctx, 3)
	kept, lost := w.names[0], w.names[1]
	value, other := values[1], values[0] // the first one is the lost unit's
	here, there := w.sender(kept), w.sender(lost)
	there(value, 500)
	here(value, 500)
	w.eventually("both copy and work", func() bool { return w.processed() == 1000 })
	pause(ctx, unpublished) // the last retries too
	ends := w.ends(lost)
	w.eventually("what the lost unit has published is copied", func() bool {
		copied := w.uncopied(lost, kept)
		for q, end := range ends {
			if copied[q] < end {
				return false
			}
		}
		return true
	})

	w.stop(ReplicatorName(lost, kept))
	there(value, *finished)
	w.eventually("the lost unit has finished what nobody else has", func() bool { return w.processed() == 1000+*finished })
	published := time.Now().Add(unpublished)
	pause(ctx, time.Until(published)) // what a process has not published yet may run again: that is another test
	for n := range Agents {
		w.stop(AgentName(lost, n))
	}
	there(value, *stranded)
	_, err := w.killSite(lost)
	require.NoError(t, err)

	load, halt := context.WithCancel(ctx)
	var steady sync.WaitGroup
	steady.Go(func() {
		for load.Err() == nil {
			here(value, 10)
			here(other, 10)
		}
	})
	asked := time.Now()
	status, answer, err := w.request(w.managers[kept] + "/switch?from=" + lost + "&to=" + kept + "&forced=true")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	resumed := w.firstRun(kept, value, asked)
	t.Logf("forced switch: answered after %v, %s goes on in %s after %v; possibly repeated %d, taken over %d",
		time.Since(asked).Round(time.Millisecond), value, kept, resumed.Sub(asked).Round(time.Millisecond), answer.PossiblyRepeated, answer.TakenOver)
	before := w.processed()
	w.eventually("the other unit works", func() bool { return w.processed() > before+200 })
	halt()
	steady.Wait()

	require.NoError(t, w.reviveSite(lost))
	back := time.Now()
	w.eventually("the unit rejoins", func() bool {
		table, err := route.LoadFresh(ctx, w.store)
		return err == nil && !table.Away(lost)
	})
	t.Logf("%s rejoined %v after it was back", lost, time.Since(back).Round(time.Millisecond))
	there(value, 200)
	w.settled()
	v := Judge(w.read())
	fmt.Println("site lost:", v)
	require.NoError(t, v.Err())
	require.Zero(t, v.Repeated-v.Allowed)
	require.LessOrEqual(t, int64(v.Repeated), answer.PossiblyRepeated, "the bound that the report states")
	status, _, err = w.request(w.managers[kept] + "/switch?values=" + value + "&to=" + lost)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	here(value, 200)
	there(value, 200)
	w.settled()
	require.NoError(t, Judge(w.read()).Err())
	w.audit()
	for _, f := range w.failures {
		t.Error(f)
	}
}

// sender returns a function that sends messages of a unit, several at a time.
func (w *world) sender(unit string) func(value string, n int) {
	p := w.producer(unit)
	var serial int
	return func(value string, n int) {
		keys := make(chan string)
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for key := range keys {
					if _, err := p.send(key, value); err != nil {
						w.fail("%v", err)
					}
				}
			})
		}
		for range n {
			serial++
			keys <- fmt.Sprintf("%s/%06d", unit, serial)
		}
		close(keys)
		wg.Wait()
	}
}

// processed is how many messages were, so far.
func (w *world) processed() int {
	w.read()
	return len(w.done)
}

// firstRun is when a unit first began a message of a value after a moment.
func (w *world) firstRun(unit, value string, after time.Time) (at time.Time) {
	w.Helper()
	w.eventually(unit+" processes "+value, func() bool {
		for _, l := range w.read().Lines {
			if l.Event == Start && l.Unit() == unit && l.Value == value && l.At.After(after) && (at.IsZero() || l.At.Before(at)) {
				at = l.At
			}
		}
		return !at.IsZero()
	})
	return at
}

// stop kills a process that stays away.
func (w *world) stop(name string) {
	f := w.processes[name].kill()
	f.Until = f.Gone
	if w.processes[name].role.Kind == "agent" {
		f.Kind = KillAgent
		w.noteFault(f)
	}
}
