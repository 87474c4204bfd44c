package manager_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

// What cannot be read for certain runs no switch. Each of these would have moved something.
func TestNothingOfARequestIsPassedOver(t *testing.T) {
	w := newWorld(t, nil)
	close(w.release)
	w.join("unit-1")
	w.join("unit-2")
	w.eventually("both consume", func() bool {
		var f switchplan.Forecast
		return w.call("GET", "/switch?values=guangzhou&dry-run=true", &f) == http.StatusOK && f.Ready
	})
	before := w.revisions()
	for _, query := range []string{"from=unit-2&dry-run", "from=unit-2&dry-run=", "dry-run&values=guangzhou", "values=guangzhou&dry-run=TRUE"} {
		var f switchplan.Forecast
		require.Equal(t, http.StatusOK, w.call("GET", "/switch?"+query, &f), query)
		require.NotEmpty(t, f.Moves, query)
		require.NotEmpty(t, f.Steps, "a dry run: "+query)
	}
	for query, says := range map[string]string{
		"values=guangzhou&dry-run=true;x":          "dry-run=true;x",
		"values=guangzhou&to=100%":                 "to=100%",
		"from=unit-2&values=50%":                   "values=50%",
		"from=unit-2&values=":                      "values",
		"from=unit-2&values=,":                     "values",
		"values=guangzhou&to=":                     "to",
		"values=guangzhou&deadline=":               "deadline",
		"values=guangzhou&by=":                     "by",
		"values=guangzhou&forced=":                 "forced",
		"values=guangzhou&create=":                 "create",
		"values=guangzhou&Dry-Run=true":            "Dry-Run",
		"values=guangzhou&%64ry-run=false&dry-run": "repeated",
	} {
		var failure manager.Failure
		require.Equal(t, http.StatusBadRequest, w.call("GET", "/switch?"+query, &failure), query)
		require.Contains(t, failure.Error, says, query)
		require.NotEmpty(t, failure.Hint, query)
	}
	for _, path := range []string{"/switch?values=guangzhou", "/replay?values=guangzhou&group=channel&since=1h", "/rejoin?unit=unit-2", "/provision?unit=unit-2&group=x&start=first", "/rules?rule=paris"} {
		resp, err := http.Post(w.server.URL+path, "application/x-www-form-urlencoded", strings.NewReader("dry-run=true"))
		require.NoError(t, err)
		var failure manager.Failure
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&failure))
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, path)
		require.Contains(t, failure.Error, "no body", path)
		require.Contains(t, failure.Hint, "URL", path)
	}
	resp, err := http.Head(w.server.URL + "/switch?values=guangzhou")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	require.Equal(t, before, w.revisions(), "nothing has changed")
}

// A name that holds a comma, written into a URL as it is, must not become two values.
func TestNamesInURLs(t *testing.T) {
	w := newWorld(t, nil)
	close(w.release)
	w.join("unit-1")
	w.join("unit-2")
	_, err := route.Update(t.Context(), w.store, func(t *msha.Table) (*msha.Table, error) {
		for _, value := range []string{"a", "b", "a,b", "a ", "aA", "a%41", "x.y"} {
			var err error
			if t, err = route.AddRule(t, msha.Rule{Kind: msha.RuleExact, Value: value, Set: "set of " + value}, "unit-2"); err != nil {
				return nil, err
			}
		}
		return t, nil
	})
	require.NoError(t, err)
	w.eventually("both consume", func() bool {
		var f switchplan.Forecast
		return w.call("GET", "/switch?values=guangzhou&dry-run=true", &f) == http.StatusOK && f.Ready
	})
	for query, want := range map[string][]string{
		"values=a,b":                      {"a", "b"},
		"values=a%2Cb":                    {"a", "b"}, // what most clients make of a list
		"values=a,%20b":                   {"a", "b"},
		"values=a&values=b":               {"a", "b"},
		"values=@exact:a,b":               {"a", "b"},
		"values=@exact:a%252Cb":           {"@exact:a%2Cb"},
		"values=%40exact%3Aa%252Cb,a":     {"@exact:a%2Cb", "a"},
		"values=@exact:a%252cb":           {"@exact:a%2Cb"},
		"values=@exact:a%2520,b":          {"@exact:a%20", "b"},
		"values=@exact:a%252541":          {"a%41"},
		"values=@exact:x.y":               {"x.y"},
		"values=@exact:guangzhou":         {"guangzhou"},
		"values=@unit:unit-2":             {"@unit-2"},
		"values=guangzhou%2C%40unit-2%2C": {"@unit-2", "guangzhou"},
	} {
		var f switchplan.Forecast
		var failure manager.Failure
		var raw json.RawMessage
		status := w.call("GET", "/switch?dry-run&"+query, &raw)
		require.NoError(t, json.Unmarshal(raw, &f))
		require.NoError(t, json.Unmarshal(raw, &failure))
		require.Equal(t, http.StatusOK, status, "%s: %+v", query, failure)
		var moved []string
		for _, m := range f.Moves {
			moved = append(moved, m.Values...)
		}
		require.ElementsMatch(t, want, moved, query)
	}
	before := w.revisions()
	for _, query := range []string{
		"values=@exact:a%2Cb", "values=%40exact%3Aa%2Cb", "values=b,@exact:a%2Cb", "values=@exact:a%20", "values=@exact:a+", "values=@exact:a%2541", "values=b%2C@unit:x%2Cy",
		"values=@range:a%2Cb..c", "values=@range:a%2E..b", "values=@range:a..b%20",
	} {
		var failure manager.Failure
		require.Equal(t, http.StatusBadRequest, w.call("GET", "/switch?create=true&"+query, &failure), query)
		require.Contains(t, failure.Hint, "%25", query)
	}
	var failure manager.Failure
	require.Equal(t, http.StatusBadRequest, w.call("POST", "/rules?rule=@exact:a%2541", &failure))
	require.Contains(t, failure.Hint, "%25")
	require.Equal(t, before, w.revisions(), "nothing has changed")
}
