package realstore

import "context"

// TB is what the test constructors need of a testing.TB.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Etcd starts an etcd for a test and stops it when the test ends. If the test failed, the end of the server's output is printed. A
// missing server fails the test. The other constructors do the same.
func Etcd(t TB, o *EtcdOptions) *Server {
	t.Helper()
	return forTest(t, StartEtcd, o)
}

// Redis starts a standalone Redis for a test.
func Redis(t TB, o *RedisOptions) *Server {
	t.Helper()
	return forTest(t, StartRedis, o)
}

// Sentinel starts a master, its replica and three sentinels for a test.
func Sentinel(t TB, o *SentinelOptions) *Server {
	t.Helper()
	return forTest(t, StartSentinel, o)
}

// RedisCluster starts a Redis cluster for a test.
func RedisCluster(t TB, o *ClusterOptions) *Server {
	t.Helper()
	return forTest(t, StartRedisCluster, o)
}

// Rnacos starts an r-nacos for a test.
func Rnacos(t TB, o *RnacosOptions) *Server {
	t.Helper()
	return forTest(t, StartRnacos, o)
}

func forTest[O any](t TB, start func(context.Context, *O) (*Server, error), o *O) *Server {
	t.Helper()
	s, err := start(t.Context(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", s.Kind(), s.Logs(15))
		}
		s.Stop()
	})
	return s
}
