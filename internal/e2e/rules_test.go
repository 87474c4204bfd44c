package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
)

// addRule asks the manager as an operator does.
func (w *world) addRule(rule, owner string) (status int, answer manager.RuleAnswer, failure manager.Failure) {
	w.Helper()
	q := url.Values{"rule": {rule}}
	if owner != "" {
		q.Set("owner", owner)
	}
	status, failure = w.ask(http.MethodPost, "/rules?"+q.Encode(), &answer)
	return status, answer, failure
}

// added adds a rule and fails the test unless it was; no value may have another owner or term then.
func (w *world) added(rule, owner string, values []string) manager.RuleAnswer {
	w.Helper()
	before := w.owners(values)
	status, answer, failure := w.addRule(rule, owner)
	require.Equal(w, http.StatusOK, status, failure.Error)
	if owner == "" {
		require.Equal(w, before, w.owners(values), rule)
	}
	return answer
}

// ownedBy is what must not change where a rule is added.
type ownedBy struct {
	set, unit string
	term      uint64
}

func (w *world) owners(values []string) map[string]ownedBy {
	w.Helper()
	table, err := route.LoadFresh(w.ctx, w.store)
	require.NoError(w, err)
	out := map[string]ownedBy{}
	for _, v := range values {
		s, _ := table.Lookup(v, "")
		out[v] = ownedBy{s.ID, s.Owner, s.Term}
	}
	return out
}

// rules: values that nobody owned are given to a unit, then rules for ranges and slots are made and moved, whole and in parts, there and back,
// while messages of all of them flow in both units. Every message is processed once, also those from before there was a rule.
func rules(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	var cities []string
	for i := range 40 {
		cities = append(cities, fmt.Sprintf("%c-city-%d", 'a'+i%26, i))
	}
	for _, unit := range w.names {
		w.join(unit, failing(3), slow(time.Millisecond))
		w.join(unit, failing(3), slow(time.Millisecond))
		send := w.produce(unit)
		for _, value := range append([]string{"beijing", "guangzhou"}, cities...) {
			send(value, 3)
		}
	}
	w.copied()
	w.eventually("the values with a rule", func() bool { return w.journal.verdict().Processed == 12 })
	v := w.quiet()
	require.Equal(t, 12, v.Processed, "no rule, no owner: %v", v)

	w.added("@default", "unit-1", cities)
	w.exact(w.settled())
	for value, o := range w.owners(cities) {
		require.Equal(t, "unit-1", o.unit, value)
	}

	var stops []func()
	for _, unit := range w.names {
		stops = append(stops, w.steadily(unit, 200, append([]string{"beijing", "guangzhou"}, cities...)...))
	}
	time.Sleep(500 * time.Millisecond) // let work be under way everywhere
	w.added("@slots:0-511", "", cities)
	w.added("@range:p..u", "", cities)
	moved := w.move("values=@slots:0-511&to=unit-2")
	require.Equal(t, []string{"@slots:0-511"}, moved.Moved)
	status, _, failure := w.addRule("@range:a..c", "")
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, failure.Error, "more than one route set")
	w.move("values=@slots:0-255&to=unit-1") // a part of it, back
	w.added("@slots:512-1023", "", cities)
	w.move("values=@range:p..s,@default&to=unit-2")
	w.move("values=a-city-0&create=true&to=unit-2")
	w.move("values=@slots:0-511&to=unit-1") // one part is there already
	w.move("from=unit-2&to=unit-1&override=keep-units")
	w.move("values=@range:p..u,@slots:256-700,@unit-1&to=unit-2")
	time.Sleep(500 * time.Millisecond)
	for _, stop := range stops {
		stop()
	}
	v = w.settled()
	w.exact(v)
	require.Greater(t, v.Failed, v.Sent/100, "handlers were to fail")

	// From now on each value is processed where the names say.
	old := w.keys()
	for _, unit := range w.names {
		send := w.produce(unit)
		for _, value := range cities {
			send(value, 2)
		}
	}
	w.exact(w.settled())
	for key, r := range w.journal.runs {
		value := r[0].value
		if old[key] {
			continue
		}
		want, slot := "unit-1", msha.Slot(value)
		if value != "a-city-0" && ("p" <= value && value < "u" || 256 <= slot && slot <= 700) {
			want = "unit-2"
		}
		for _, run := range r {
			require.Equal(t, want, run.unit, key)
		}
	}
	w.ordered()
	w.audited(w.names...)
}

// keys are the messages handled so far.
func (w *world) keys() map[string]bool {
	w.journal.mu.Lock()
	defer w.journal.mu.Unlock()
	out := map[string]bool{}
	for key := range w.journal.runs {
		out[key] = true
	}
	return out
}

func TestRules(t *testing.T) { t.Parallel(); rules(t, onEmbedded) }
