//go:build real

package realstore_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/realstore"
)

// redisCall asks by redis-cli, which is not the code under test; with "-c" first it follows a cluster.
func redisCall(t *testing.T, addr string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	host, port, _ := strings.Cut(addr, ":")
	out, err := exec.CommandContext(ctx, "redis-cli", append([]string{"-h", host, "-p", port, "--no-auth-warning"}, args...)...).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "Could not connect") && !strings.Contains(string(out), "Error: ") {
		t.Fatalf("redis-cli: %v %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestRedisKeepsDataOverAKill(t *testing.T) {
	t.Parallel()
	s := realstore.Redis(t, nil)
	addr := s.Addr()
	require.Equal(t, "OK", redisCall(t, addr, "SET", "a", "1"))
	s.Kill()
	require.Contains(t, redisCall(t, addr, "GET", "a"), "refused")
	require.NoError(t, s.Restart(t.Context()))
	require.Equal(t, addr, s.Addr())
	require.Equal(t, "1", redisCall(t, addr, "GET", "a"))
	require.Equal(t, "OK", redisCall(t, addr, "SET", "b", "2"))
	require.NoError(t, s.Restart(t.Context()), "a running server is killed first")
	require.Equal(t, "2", redisCall(t, addr, "GET", "b"))
}

func TestRedisCanForget(t *testing.T) {
	t.Parallel()
	s := realstore.Redis(t, &realstore.RedisOptions{Config: map[string]string{"appendonly": "no"}})
	require.Equal(t, "OK", redisCall(t, s.Addr(), "SET", "a", "1"))
	require.NoError(t, s.Restart(t.Context()))
	require.Empty(t, redisCall(t, s.Addr(), "GET", "a"))
}

func TestRedisWithUserAndTLS(t *testing.T) {
	t.Parallel()
	ca, err := realstore.NewCA(t.TempDir())
	require.NoError(t, err)
	s := realstore.Redis(t, &realstore.RedisOptions{User: "msha", Password: "it's \"secret\"", CA: ca, ClientCerts: true})
	certFile, keyFile, err := ca.Issue("cli")
	require.NoError(t, err)
	trusting := []string{"--tls", "--cacert", ca.File}
	own := append(trusting, "--cert", certFile, "--key", keyFile)
	require.Equal(t, "PONG", redisCall(t, s.Addr(), append(own, "--user", "msha", "-a", "it's \"secret\"", "PING")...))
	require.Contains(t, redisCall(t, s.Addr(), append(own, "--user", "msha", "-a", "wrong", "PING")...), "NOAUTH")
	require.Contains(t, redisCall(t, s.Addr(), append(own, "PING")...), "NOAUTH", "the default user is off")
	require.NotContains(t, redisCall(t, s.Addr(), append(trusting, "PING")...), "NOAUTH", "a client without a certificate is refused")
	require.NotContains(t, redisCall(t, s.Addr(), "PING"), "NOAUTH", "plain is refused")
	require.NotNil(t, s.TLS())
}

func TestSentinelPromotesTheReplica(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*realstore.SentinelOptions{
		"plain":     nil,
		"passwords": {RedisOptions: realstore.RedisOptions{User: "msha", Password: "secret"}, SentinelPassword: "other"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := realstore.Sentinel(t, o)
			require.Len(t, s.Addrs(), 3)
			require.Len(t, s.Nodes(), 5)
			var login []string
			if o != nil {
				login = []string{"--user", "msha", "-a", "secret"}
				require.Contains(t, redisCall(t, s.Addr(), "SENTINEL", "MASTERS"), "NOAUTH")
			}
			old, err := s.Primary(t.Context(), "")
			require.NoError(t, err)
			require.Equal(t, "redis-1", old.Name())
			require.Equal(t, "OK", redisCall(t, old.Addr(), append(login, "SET", "a", "1")...))
			require.Eventually(t, func() bool { // WAIT of another connection would wait for nothing
				return redisCall(t, s.Nodes()[1].Addr(), append(login, "GET", "a")...) == "1"
			}, time.Minute, 20*time.Millisecond, "the replica has it")
			old.Kill()
			require.False(t, old.Running())
			var now *realstore.Node
			require.Eventually(t, func() bool {
				now, err = s.Primary(t.Context(), "")
				return err == nil && now.Name() == "redis-2"
			}, time.Minute, 50*time.Millisecond)
			require.Eventually(t, func() bool { // sentinels cut the clients of a node that they promote
				return redisCall(t, now.Addr(), append(login, "GET", "a")...) == "1"
			}, time.Minute, 50*time.Millisecond)

			require.NoError(t, old.Restart(t.Context()))
			require.Eventually(t, func() bool {
				return strings.Contains(redisCall(t, old.Addr(), append(login, "INFO", "replication")...), "master_link_status:up")
			}, time.Minute, 100*time.Millisecond, "the old master follows the new one")
			require.NoError(t, s.Restart(t.Context()))
			now, err = s.Primary(t.Context(), "")
			require.NoError(t, err)
			require.Equal(t, "redis-2", now.Name(), "a restart of everything keeps the roles")
		})
	}
}

func TestSentinelPromotesAfterAFreeze(t *testing.T) {
	t.Parallel()
	s := realstore.Sentinel(t, &realstore.SentinelOptions{DownAfter: 300 * time.Millisecond})
	old, err := s.Primary(t.Context(), "")
	require.NoError(t, err)
	require.NoError(t, old.Freeze())
	require.Eventually(t, func() bool {
		now, err := s.Primary(t.Context(), "")
		return err == nil && now != old
	}, time.Minute, 50*time.Millisecond)
	require.NoError(t, old.Thaw())
}

func TestClusterSharesTheKeys(t *testing.T) {
	t.Parallel()
	ca, err := realstore.NewCA(t.TempDir())
	require.NoError(t, err)
	s := realstore.RedisCluster(t, &realstore.ClusterOptions{RedisOptions: realstore.RedisOptions{Password: "secret", CA: ca}})
	login := []string{"-c", "-a", "secret", "--tls", "--cacert", ca.File}
	require.Len(t, s.Addrs(), 3)
	owners := map[string]bool{}
	for _, k := range []string{"a", "b", "c", "d", "e"} {
		require.Equal(t, "OK", redisCall(t, s.Addr(), append(login, "SET", k, "v"+k)...))
		n, err := s.Primary(t.Context(), k)
		require.NoError(t, err)
		owners[n.Name()] = true
		require.Equal(t, "v"+k, redisCall(t, n.Addr(), append(login[1:], "GET", k)...), "without being sent elsewhere")
	}
	require.Len(t, owners, 3)
	require.NoError(t, s.Restart(t.Context()))
	require.Eventually(t, func() bool { return redisCall(t, s.Addr(), append(login, "GET", "a")...) == "va" }, time.Minute, 50*time.Millisecond)
}

func TestClusterPromotesAReplica(t *testing.T) {
	t.Parallel()
	s := realstore.RedisCluster(t, &realstore.ClusterOptions{Replicas: true})
	require.Len(t, s.Addrs(), 6)
	require.Contains(t, redisCall(t, s.Addr(), "--cluster", "check", s.Addr()), "All 16384 slots covered")
	require.Equal(t, "OK", redisCall(t, s.Addr(), "-c", "SET", "a", "1"))
	old, err := s.Primary(t.Context(), "a")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		have := 0
		for _, n := range s.Nodes() {
			if redisCall(t, n.Addr(), "DBSIZE") == "1" {
				have++
			}
		}
		return have == 2
	}, time.Minute, 20*time.Millisecond, "the replica has it")
	old.Kill()
	var now *realstore.Node
	require.Eventually(t, func() bool {
		now, err = s.Primary(t.Context(), "a")
		return err == nil && now != old
	}, time.Minute, 50*time.Millisecond)
	require.Eventually(t, func() bool { return redisCall(t, now.Addr(), "-c", "GET", "a") == "1" }, time.Minute, 50*time.Millisecond)
}

func TestServersLeaveNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := realstore.StartSentinel(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, processes(t, s.Dir()), 5)
	files, err := filepath.Glob(filepath.Join(s.Dir(), "*", "out"))
	require.NoError(t, err)
	require.Len(t, files, 5)
	require.Equal(t, 5, strings.Count(s.Logs(3), "--- "))
	s.Stop()
	s.Stop()
	require.Empty(t, processes(t, s.Dir()))
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left)
}
