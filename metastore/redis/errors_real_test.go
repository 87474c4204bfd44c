//go:build real

package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/realstore"
)

// operator checks that an error tells backend, operation, place and remedy, and no secret.
func operator(t *testing.T, err error, parts ...string) {
	t.Helper()
	require.Error(t, err)
	t.Log(err)
	var op *msha.OpError
	require.ErrorAs(t, err, &op)
	require.True(t, strings.HasPrefix(op.Op, "metastore.redis."), op.Op)
	require.NotEmpty(t, op.Hint)
	require.NotContains(t, err.Error(), "secret")
	for _, part := range parts {
		require.ErrorContains(t, err, part)
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	ca, err := realstore.NewCA(t.TempDir())
	require.NoError(t, err)
	otherCA, err := realstore.NewCA(t.TempDir())
	require.NoError(t, err)
	other, err := otherCA.ClientConfig()
	require.NoError(t, err)
	plain := realstore.Redis(t, &realstore.RedisOptions{Password: "topsecret"})
	secured := realstore.Redis(t, &realstore.RedisOptions{CA: ca})
	mutual := realstore.Redis(t, &realstore.RedisOptions{CA: ca, ClientCerts: true})
	sentinel := realstore.Sentinel(t, nil)
	cluster := realstore.RedisCluster(t, nil)
	const free = "127.0.0.1:1"
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections wait in its queue
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	master, err := sentinel.Primary(t.Context(), "")
	require.NoError(t, err)
	replica := sentinel.Nodes()[1].Addr()
	require.NotEqual(t, master.Addr(), replica)
	withoutCert := mutual.TLS()
	withoutCert.Certificates = nil
	for name, c := range map[string]struct {
		addrs []string
		o     Options
		parts []string
	}{
		"nobody listens":         {[]string{free}, Options{}, []string{free, "connection refused", "check address"}},
		"nobody answers":         {[]string{silent.Addr().String()}, Options{DialTimeout: time.Second}, []string{silent.Addr().String(), "no answer within 1s"}},
		"no such host":           {[]string{"no-such-host.invalid:6379"}, Options{}, []string{"no-such-host.invalid", "check address"}},
		"no password":            {plain.Addrs(), Options{}, []string{plain.Addr(), "NOAUTH", "wants a password"}},
		"wrong password":         {plain.Addrs(), Options{Password: "secret 2"}, []string{plain.Addr(), "WRONGPASS", "check user and password"}},
		"wrong user":             {plain.Addrs(), Options{User: "nobody", Password: "topsecret"}, []string{"WRONGPASS"}},
		"plain to TLS":           {secured.Addrs(), Options{}, []string{secured.Addr(), "Options.TLS"}},
		"TLS to plain":           {plain.Addrs(), Options{TLS: &tls.Config{ServerName: "redis"}, DialTimeout: time.Second}, []string{plain.Addr(), "speak TLS"}},
		"unknown authority":      {secured.Addrs(), Options{TLS: other}, []string{"RootCAs"}},
		"no client certificate":  {mutual.Addrs(), Options{TLS: withoutCert}, []string{"client certificate"}},
		"no such database":       {plain.Addrs(), Options{Password: "topsecret", DB: 99}, []string{"DB index is out of range", "Options.DB"}},
		"a replica":              {[]string{replica}, Options{}, []string{replica, "replica"}},
		"a sentinel as a server": {sentinel.Addrs()[:1], Options{}, []string{sentinel.Addr(), "Options.Master"}},
		"a server as a sentinel": {[]string{master.Addr()}, Options{Master: realstore.MasterName}, []string{"sentinels", master.Addr()}},
		"unknown master":         {sentinel.Addrs(), Options{Master: "other"}, []string{"Options.Master"}},
		"no cluster":             {[]string{master.Addr()}, Options{Cluster: true}, []string{"Options.Cluster"}},
		"a node as a server":     {cluster.Addrs()[:1], Options{Prefix: "a"}, []string{"MOVED", "Options.Cluster"}},
		"two servers":            {[]string{"a:1", "b:1"}, Options{}, []string{"2 addresses", "Options.Cluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience) // the error of whoever takes so long is the context's
			defer cancel()
			s, err := Open(ctx, c.addrs, &c.o)
			if err == nil {
				require.NoError(t, s.Close())
			}
			operator(t, err, c.parts...)
		})
	}
	s, err := Open(t.Context(), mutual.Addrs(), &Options{TLS: mutual.TLS()})
	require.NoError(t, err)
	put(t, s, "k", "over TLS", 0)
	watch(t, s, "k").until("over TLS")
	require.NoError(t, s.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, []string{silent.Addr().String()}, nil)
	require.Equal(t, context.DeadlineExceeded, err)
}

func TestMissingPermissionsAreNamed(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string]string{
		"keys":      strings.Replace(limited, "~{msha}:*", "~{other}:*", 1),
		"channels":  strings.Replace(limited, "&{msha}:*", "", 1),
		"publish":   strings.Replace(limited, "+publish", "", 1),
		"hset":      strings.Replace(limited, "+hset", "", 1),
		"evalsha":   strings.Replace(limited, "+evalsha", "", 1),
		"subscribe": strings.Replace(limited, "+subscribe", "", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := realstore.Redis(t, &realstore.RedisOptions{Config: map[string]string{"user limited": "on >secret resetchannels " + rules}})
			var log logtest.Log
			s, err := Open(t.Context(), server.Addrs(), &Options{User: "limited", Password: "secret", Logger: log.Logger()})
			if err == nil {
				defer s.Close() //nolint:errcheck // it has nothing to say
				if _, err = s.Put(t.Context(), "k", []byte("v"), 0); err == nil {
					require.Equal(t, "subscribe", name)
					watch(t, s, "k").until("v") // without notices, by the first read
					require.Eventually(t, func() bool { return log.Count(loss) == 1 && log.Count("package metastore/redis") == 1 }, patience, time.Millisecond)
					return
				}
				n, existsErr := raw(t, server.Addr()).Exists(t.Context(), s.documentKey("k")).Result()
				require.NoError(t, existsErr)
				require.Zero(t, n, "nothing was written")
			}
			operator(t, err, "package metastore/redis")
			require.NotErrorIs(t, err, msha.ErrInvalid)
		})
	}
}

func TestRefusedWritesAreMapped(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, &realstore.RedisOptions{Config: map[string]string{"proto-max-bulk-len": "1mb"}})
	s := open(t, server.Addrs(), Options{MaxValue: 8 << 20})
	c := raw(t, server.Addr())
	r := put(t, s, "k", "v", 0)
	var err error
	require.Eventually(t, func() bool { // the server closes the connection; that may overtake its answer
		_, err = s.Put(t.Context(), "k", make([]byte, 2<<20), r)
		return errors.Is(err, msha.ErrTooLarge)
	}, patience, time.Millisecond)
	operator(t, err, "proto-max-bulk-len", "k at "+server.Addr())
	_, err = s.Put(t.Context(), "k", make([]byte, 9<<20), r)
	require.ErrorIs(t, err, msha.ErrTooLarge)
	operator(t, err, "the limit is 8388608", "use ranges or slots")
	require.NoError(t, c.ConfigSet(t.Context(), "maxmemory", "100kb").Err())
	_, err = s.Put(t.Context(), "k", []byte("w"), r)
	require.NotErrorIs(t, err, msha.ErrTooLarge, "one byte is not: a smaller document would not help, and who waits for memory goes on")
	operator(t, err, "OOM", "maxmemory")
	require.NoError(t, c.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.NoError(t, c.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
	_, err = s.Put(t.Context(), "k", []byte("w"), r)
	operator(t, err, "READONLY", "nothing was written")
	require.NoError(t, c.ReplicaOf(t.Context(), "no", "one").Err())
	put(t, s, "k", "w", r)
	require.NoError(t, s.Safe())
}

func TestACorruptDocumentIsNamedAndOthersGoOn(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, nil)
	var log logtest.Log
	s := open(t, server.Addrs(), Options{Logger: log.Logger(), Poll: 100 * time.Millisecond})
	c, key := raw(t, server.Addr()), s.documentKey("k")
	r := put(t, s, "k", "good", 0)
	w := watch(t, s, "k")
	w.until("good")
	for _, spoil := range []func() error{
		func() error { return c.HSet(t.Context(), key, "revision", "many").Err() },
		func() error { return c.HSet(t.Context(), key, "revision", "0").Err() },
		func() error { return c.HDel(t.Context(), key, "revision").Err() },
		func() error { return c.Set(t.Context(), key, "a string", 0).Err() },
	} {
		require.NoError(t, spoil())
		_, err := s.Get(t.Context(), "k")
		require.ErrorIs(t, err, msha.ErrInvalid)
		operator(t, err, "metastore.redis.get", "k at "+server.Addr(), "delete it")
		_, err = s.Put(t.Context(), "k", []byte("v"), 0)
		require.ErrorIs(t, err, msha.ErrInvalid, "what is there is not taken for nothing")
		require.ErrorIs(t, s.Delete(t.Context(), "k", 0), msha.ErrInvalid)
	}
	_, err := s.Put(t.Context(), "k", []byte("v"), r)
	require.ErrorIs(t, err, msha.ErrInvalid)
	put(t, s, "other", "goes on", 0)
	watch(t, s, "other").until("goes on")
	select {
	case d := <-w.ch:
		require.Fail(t, "the last good version stays", "%v", d)
	case <-time.After(500 * time.Millisecond):
	}
	require.Eventually(t, func() bool { return log.Count(loss) > 0 }, patience, time.Millisecond)
	require.Equal(t, 1, log.Count(loss), "%s", &log)
}

func TestInvalidOptionsAreAllReported(t *testing.T) {
	_, err := New(nil, &Options{Prefix: "{a}", Replicas: -1, MemberTTL: 1, Cluster: true, DB: 1, Master: "m", MaxValue: -1, Poll: -1})
	require.ErrorIs(t, err, msha.ErrInvalid)
	for _, part := range []string{"Prefix", "Replicas", "MemberTTL", "Master", "DB 1", "MaxValue", "Poll"} {
		require.ErrorContains(t, err, part)
	}
}
