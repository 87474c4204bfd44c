package e2e

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/manager"
)

// tryMove asks the manager as an operator does.
func (w *world) tryMove(query string) (status int, answer manager.Answer, failure manager.Failure) {
	w.Helper()
	status, failure = w.ask(http.MethodGet, "/switch?"+query, &answer)
	return status, answer, failure
}

// ask makes a request to the manager; into gets the answer if there is one.
func (w *world) ask(method, target string, into any) (status int, failure manager.Failure) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, w.http.URL+target, nil)
	require.NoError(w, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w, err)
	defer resp.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(resp.Body)
	require.NoError(w, err)
	if resp.StatusCode == http.StatusOK {
		require.NoError(w, json.Unmarshal(body, into))
	} else {
		require.NoError(w, json.Unmarshal(body, &failure), string(body))
	}
	return resp.StatusCode, failure
}
