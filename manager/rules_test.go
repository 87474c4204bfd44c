package manager_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

// rulesWorld is a manager of documents alone: no cluster is asked about rules.
func rulesWorld(t *testing.T, change func(store msha.MetaStore) msha.MetaStore) *manager.Manager {
	t.Helper()
	table, err := route.New([]string{"unit-1", "unit-2"}, map[string][]string{"unit-1": {"beijing"}, "unit-2": {"guangzhou"}})
	require.NoError(t, err)
	units := &msha.Units{Units: []msha.UnitInfo{{Name: "unit-1", State: "live"}, {Name: "unit-2", State: "live"}, {Name: "unit-3", State: switchplan.Quarantined}}}
	store := memory.New()
	require.NoError(t, route.Init(t.Context(), store, table, units))
	m, err := manager.New(t.Context(), change(store), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func TestRulesOverHTTP(t *testing.T) {
	w := newWorld(t, nil)
	close(w.release)
	w.join("unit-1")
	w.join("unit-2")
	w.eventually("both consume", func() bool {
		var f switchplan.Forecast
		return w.call("GET", "/switch?values=guangzhou&dry-run=true", &f) == http.StatusOK && f.Ready
	})
	add := func(rule, more string) (int, manager.RuleAnswer, manager.Failure) {
		var both struct {
			manager.RuleAnswer
			manager.Failure
		}
		status := w.call("POST", "/rules?rule="+url.QueryEscape(rule)+more, &both)
		return status, both.RuleAnswer, both.Failure
	}
	status, _, failure := add("@default", "")
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, failure.Error, "no rule catches its values")
	require.Contains(t, failure.Hint, "name the unit")
	before := w.revisions()
	for query, want := range map[string]int{
		"rule=@default&owner=unit-9": http.StatusNotFound, "rule=@unit-9&owner=unit-1": http.StatusNotFound, "rule=@slots:0-9999&owner=unit-1": http.StatusBadRequest,
		"rule=guangzhou": http.StatusConflict, "owner=unit-1": http.StatusBadRequest, "rule=a&rule=b": http.StatusBadRequest, "role=a": http.StatusBadRequest,
	} {
		var f manager.Failure
		require.Equal(t, want, w.call("POST", "/rules?"+query, &f), query)
		require.NotEmpty(t, f.Error)
	}
	require.Equal(t, before, w.revisions(), "a refusal changes nothing")

	status, rest, _ := add("@default", "&owner=unit-2&by=alice")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "unit-2", rest.Owner)
	require.EqualValues(t, 1, rest.Term)
	require.Equal(t, "alice", rest.By)
	require.Equal(t, "@default", rest.Rule)
	status, slots, _ := add("@slots:0-511", "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, rest.Set, slots.Set)
	require.Equal(t, rest.Version+1, slots.Version)
	status, comma, _ := add("@exact:a%2Cb", "&owner=unit-2")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, rest.Set, comma.Set)
	status, _, failure = add("@slots:500-600", "")
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, failure.Error, "overlap")
	status, _, failure = add("@slots:600-700", "&owner=unit-1")
	require.Equal(t, http.StatusConflict, status)
	require.Contains(t, failure.Error, "unit unit-2 owns its values")

	var removed manager.RuleAnswer
	require.Equal(t, http.StatusOK, w.call("DELETE", "/rules?rule="+url.QueryEscape("@exact:a%2Cb"), &removed))
	require.Equal(t, comma.Set, removed.Set)
	var f manager.Failure
	require.Equal(t, http.StatusConflict, w.call("DELETE", "/rules?rule=@default", &f))
	require.Equal(t, http.StatusNotFound, w.call("DELETE", "/rules?rule=paris", &f))
	require.Equal(t, http.StatusBadRequest, w.call("DELETE", "/rules?rule=beijing&owner=unit-1", &f))

	var routes struct {
		Rules []struct {
			Name, Set string
			To        int
		}
	}
	require.Equal(t, http.StatusOK, w.call("GET", "/routes", &routes))
	last := routes.Rules[len(routes.Rules)-1]
	require.Equal(t, "@slots:0-511", last.Name)
	require.Equal(t, 512, last.To)

	var answer manager.Answer
	require.Equal(t, http.StatusOK, w.call("GET", "/switch?values=@slots:0-255,@unit-2&to=unit-1", &answer))
	require.Equal(t, []string{"@slots:0-255", "@unit-2"}, answer.Moved)
	table, err := route.LoadFresh(t.Context(), w.store)
	require.NoError(t, err)
	set, _ := table.Lookup("", "unit-2")
	require.Equal(t, "unit-1", set.Owner)
	status, _, failure = add("@range:a..b", "")
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, failure.Error, "more than one route set")
	require.Contains(t, failure.Error, rest.Set+" (unit-2, term 1)")
	require.Equal(t, http.StatusOK, w.call("GET", "/switch?from=unit-1&to=unit-2&override=keep-units", &answer))
	require.Contains(t, answer.Moved, "@slots:0-255")
}

func TestRulesOfARouteThatMoves(t *testing.T) {
	w := newWorld(t, nil)
	table, err := route.Update(t.Context(), w.store, func(t *msha.Table) (*msha.Table, error) {
		return route.AddRule(t, msha.Rule{Kind: msha.RuleDefault, Set: "rest"}, "unit-2")
	})
	require.NoError(t, err)
	_, err = route.Update(t.Context(), w.store, func(*msha.Table) (*msha.Table, error) {
		return route.Fence(table, &msha.Plan{ID: "task", Moves: []msha.Move{{Set: "rest", NewSet: "rest", Whole: true}}})
	})
	require.NoError(t, err)
	var f manager.Failure
	require.Equal(t, http.StatusConflict, w.call("POST", "/rules?rule=paris", &f))
	require.Contains(t, f.Error, "fenced by switch task")
	require.Equal(t, http.StatusConflict, w.call("DELETE", "/rules?rule=@default", &f))
}

type unsafeStore struct{ msha.MetaStore }

func (unsafeStore) Safe() error { return msha.ErrUnsafe }

func TestRulesAreRefusedWhere(t *testing.T) {
	m := rulesWorld(t, func(s msha.MetaStore) msha.MetaStore { return s })
	rest := msha.Rule{Kind: msha.RuleDefault}
	_, err := m.AddRule(t.Context(), rest, "unit-3")
	require.ErrorIs(t, err, msha.ErrConflict)
	require.ErrorContains(t, err, "quarantine")
	answer, err := m.AddRule(t.Context(), rest, "unit-1")
	require.NoError(t, err)
	require.Equal(t, manager.RuleAnswer{Rule: "@default", Set: answer.Set, Owner: "unit-1", Term: 1, Version: 2}, *answer)
	_, err = m.RemoveRule(t.Context(), rest)
	require.ErrorIs(t, err, msha.ErrConflict)
	require.NoError(t, m.Close())
	_, err = m.AddRule(t.Context(), rest, "unit-1")
	require.ErrorIs(t, err, msha.ErrClosed)

	m = rulesWorld(t, func(s msha.MetaStore) msha.MetaStore { return unsafeStore{s} })
	_, err = m.AddRule(t.Context(), rest, "unit-1")
	require.True(t, errors.Is(err, msha.ErrUnsafe), err)
	_, err = m.RemoveRule(t.Context(), rest)
	require.True(t, errors.Is(err, msha.ErrUnsafe), err)
}
