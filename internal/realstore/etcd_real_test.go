//go:build real

package realstore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/realstore"
)

// etcdCall asks the JSON gateway.
func etcdCall(t *testing.T, s *realstore.Server, config *tls.Config, token, path string, body map[string]string) (int, map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	scheme := "http://"
	if s.TLS() != nil {
		scheme = "https://"
	}
	raw, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+s.Addr()+"/v3/"+path, bytes.NewReader(raw))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := (&http.Transport{TLSClientConfig: config, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, map[string]any{"error": err.Error()}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(answer, &m), "%s", answer)
	return resp.StatusCode, m
}

func key(s string) map[string]string {
	return map[string]string{"key": base64.StdEncoding.EncodeToString([]byte(s)), "value": base64.StdEncoding.EncodeToString([]byte(s))}
}

func TestEtcdKeepsDataOverAKill(t *testing.T) {
	t.Parallel()
	s := realstore.Etcd(t, nil)
	addr := s.Addr()
	require.Equal(t, []string{addr}, s.Addrs())
	status, _ := etcdCall(t, s, nil, "", "kv/put", key("a"))
	require.Equal(t, 200, status)
	s.Kill()
	require.Empty(t, processes(t, s.Dir()))
	status, m := etcdCall(t, s, nil, "", "kv/range", key("a"))
	require.Zero(t, status)
	require.Contains(t, m["error"], "refused")
	require.NoError(t, s.Restart(t.Context()))
	require.Equal(t, addr, s.Addr())
	_, m = etcdCall(t, s, nil, "", "kv/range", key("a"))
	require.Equal(t, "1", m["count"])
	n, err := s.Primary(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, addr, n.Addr())
}

func TestEtcdWithPasswordAndTLS(t *testing.T) {
	t.Parallel()
	ca, err := realstore.NewCA(t.TempDir())
	require.NoError(t, err)
	s := realstore.Etcd(t, &realstore.EtcdOptions{Password: "it's \"secret\"", CA: ca, ClientCerts: true, Flags: []string{"--max-request-bytes=4096"}})

	status, m := etcdCall(t, s, &tls.Config{RootCAs: s.TLS().RootCAs}, "", "kv/range", key("a"))
	require.Zero(t, status, m)
	require.Contains(t, m["error"], "certificate", "a client without a certificate is refused")
	status, m = etcdCall(t, s, &tls.Config{}, "", "kv/range", key("a"))
	require.Zero(t, status, m)
	require.Contains(t, m["error"], "unknown authority")

	status, m = etcdCall(t, s, s.TLS(), "", "auth/authenticate", map[string]string{"name": "root", "password": "wrong"})
	require.NotEqual(t, 200, status, m)
	status, m = etcdCall(t, s, s.TLS(), "", "auth/authenticate", map[string]string{"name": "root", "password": "it's \"secret\""})
	require.Equal(t, 200, status, m)
	token, _ := m["token"].(string)
	big := key(strings.Repeat("x", 8192))
	status, m = etcdCall(t, s, s.TLS(), token, "kv/put", big)
	require.NotEqual(t, 200, status)
	require.Contains(t, m["error"], "too large", "the flag arrived")
	status, m = etcdCall(t, s, s.TLS(), token, "kv/put", key("a"))
	require.Equal(t, 200, status, m)
	require.NoError(t, s.Restart(t.Context()))
	status, m = etcdCall(t, s, s.TLS(), "", "auth/authenticate", map[string]string{"name": "root", "password": "wrong"})
	require.NotEqual(t, 200, status, m)
}

func TestEtcdWithTLSOnly(t *testing.T) {
	t.Parallel()
	ca, err := realstore.NewCA(t.TempDir())
	require.NoError(t, err)
	s := realstore.Etcd(t, &realstore.EtcdOptions{CA: ca})
	status, m := etcdCall(t, s, &tls.Config{RootCAs: s.TLS().RootCAs}, "", "kv/range", key("a"))
	require.Equal(t, 200, status, "a client without a certificate is served: %v", m)
}

func TestFrozenServerIsSilent(t *testing.T) {
	t.Parallel()
	s := realstore.Etcd(t, nil)
	require.NoError(t, s.Freeze())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.Len(t, processes(t, s.Dir()), 1)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr()+"/health", nil)
	require.NoError(t, err)
	_, err = (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, s.Thaw())
	status, _ := etcdCall(t, s, nil, "", "kv/put", key("a"))
	require.Equal(t, 200, status)
	require.NoError(t, s.Freeze())
	s.Stop()
	require.Empty(t, processes(t, s.Dir()), "a frozen server can be stopped")
	require.NoDirExists(t, s.Dir())
	require.ErrorContains(t, s.Restart(t.Context()), "stopped")
	require.Error(t, s.Freeze())
}

func TestStartReportsWhy(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, err := realstore.StartEtcd(t.Context(), &realstore.EtcdOptions{Flags: []string{"--no-such-flag"}})
	require.ErrorContains(t, err, "no-such-flag")
	_, err = realstore.StartRedis(t.Context(), &realstore.RedisOptions{Config: map[string]string{"no-such-directive": "1"}})
	require.ErrorContains(t, err, "no-such-directive")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = realstore.StartRedis(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestEtcdOfThreeMembersOutlivesOne(t *testing.T) {
	t.Parallel()
	s := realstore.Etcd(t, &realstore.EtcdOptions{Members: 3})
	require.Len(t, s.Addrs(), 3)
	s.Nodes()[2].Kill()
	require.Eventually(t, func() bool { // the one that is gone may have been the leader
		status, _ := etcdCall(t, s, nil, "", "kv/put", key("a"))
		return status == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	s.Nodes()[1].Kill()
	status, _ := etcdCall(t, s, nil, "", "kv/put", key("b"))
	require.NotEqual(t, http.StatusOK, status, "one of three is no majority")
	require.NoError(t, s.Nodes()[1].Restart(t.Context()))
	require.Eventually(t, func() bool { // the two may still be about to elect one
		status, answer := etcdCall(t, s, nil, "", "kv/range", map[string]string{"key": key("a")["key"]})
		return status == http.StatusOK && answer["count"] == "1"
	}, time.Minute, 50*time.Millisecond)
}
