package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
)

// TestSendOverHTTP runs all roles of two units on clusters given by address, as a program started with -role all does.
func TestSendOverHTTP(t *testing.T) {
	t.Parallel()
	var units []string
	for _, name := range []string{"unit-1", "unit-2"} {
		c, err := embedmq.Start(nil)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		units = append(units, name+"="+c.NameServer())
	}
	c, err := parseConfig([]string{"-role", "all", "-listen", "127.0.0.1:0", "-units", strings.Join(units, ",")}, func(string) string { return "" }, io.Discard)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	g, err := startGateway(ctx, c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, g.close(ctx)) }()

	client := &http.Client{}
	defer client.CloseIdleConnections()
	post := func(method, path, body string) (int, string) {
		req, err := http.NewRequestWithContext(ctx, method, g.url+path, strings.NewReader(body))
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close() //nolint:errcheck // read only
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(text)
	}
	for _, unit := range []string{"unit-1", "unit-2"} {
		status, text := post("POST", "/send?unit="+unit, `{"city": "guangzhou", "text": "hello"}`)
		require.Equal(t, http.StatusOK, status, text)
		require.Contains(t, text, `"id"`)
	}
	for _, bad := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", "/send?unit=unit-1", "", http.StatusMethodNotAllowed, "POST"},
		{"POST", "/send?unit=unit-1", `{"city": `, http.StatusBadRequest, `"text"`},
		{"POST", "/send?unit=unit-1", strings.Repeat("x", maxRequest+1), http.StatusRequestEntityTooLarge, "at most"},
		{"POST", "/send?unit=unit-9", `{}`, http.StatusNotFound, "unit-9"},
		{"POST", "/send", `{}`, http.StatusNotFound, "no MTR"},
		{"POST", "/send?unit=unit-1", `{"city": "a\u0001b", "text": "x"}`, http.StatusBadRequest, "control character"},
		{"POST", "/carrier?unit=unit-1&down=true", "", http.StatusNotFound, "not found"},
		{"POST", "/repair?unit=unit-1", "", http.StatusNotFound, "not found"},
		{"GET", "/switch?values=atlantis", "", http.StatusNotFound, "guangzhou"},
	} {
		status, text := post(bad.method, bad.path, bad.body)
		require.Equal(t, bad.status, status, "%s %s: %s", bad.method, bad.path, text)
		require.Contains(t, text, bad.says)
	}
	status, text := post("GET", "/routes", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, "guangzhou")
	require.Eventually(t, func() bool { return g.journal.Entries().Count().Processed == 2 }, time.Minute, 20*time.Millisecond)
	count := g.journal.Entries().Count()
	require.Equal(t, 1, count.By[[2]string{"unit-1", "unit-2"}])
	require.Equal(t, 1, count.By[[2]string{"unit-2", "unit-2"}])
}
