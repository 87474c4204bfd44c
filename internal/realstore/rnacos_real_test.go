//go:build real && nacos

package realstore_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/realstore"
)

const configs = "/nacos/v1/cs/configs?dataId=a&group=g"

func nacosCall(t *testing.T, s *realstore.Server, method, path string, form url.Values) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addr()+path, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(answer)
}

func TestRnacosKeepsDataOverAKill(t *testing.T) {
	t.Parallel()
	s := realstore.Rnacos(t, nil)
	addr := s.Addr()
	host, portText, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	port, err := strconv.Atoi(portText)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port+1000)))
	require.NoError(t, err, "gRPC is where clients look for it")
	require.NoError(t, conn.Close())

	status, answer := nacosCall(t, s, http.MethodPost, "/nacos/v1/cs/configs", url.Values{"dataId": {"a"}, "group": {"g"}, "content": {"1"}})
	require.Equal(t, 200, status, answer)
	require.Eventually(t, func() bool { _, got := nacosCall(t, s, http.MethodGet, configs, nil); return got == "1" }, 10*time.Second, 20*time.Millisecond)
	require.NoError(t, s.Restart(t.Context()))
	require.Equal(t, addr, s.Addr())
	require.Eventually(t, func() bool { _, got := nacosCall(t, s, http.MethodGet, configs, nil); return got == "1" }, 10*time.Second, 20*time.Millisecond)
}

func TestRnacosWithPassword(t *testing.T) {
	t.Parallel()
	s := realstore.Rnacos(t, &realstore.RnacosOptions{User: "msha", Password: "secret"})
	status, answer := nacosCall(t, s, http.MethodGet, configs, nil)
	require.Equal(t, 403, status, answer)
	login := func(password string) (int, string) {
		return nacosCall(t, s, http.MethodPost, "/nacos/v1/auth/login", url.Values{"username": {"msha"}, "password": {password}})
	}
	status, answer = login("wrong")
	require.NotContains(t, answer, "accessToken", status)
	status, answer = login("secret")
	require.Equal(t, 200, status, answer)
	require.Contains(t, answer, "accessToken")
}
