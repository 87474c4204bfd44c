package realstore

import "github.com/go-msha/msha/internal/child"

// Etcd starts an etcd for a test and stops it when the test ends. If the test failed, the end of the server's output is printed. A
// missing server fails the test. The other constructors do the same.
func Etcd(t child.TB, o *EtcdOptions) *Server {
	t.Helper()
	return child.ForTest(t, StartEtcd, o, report)
}

// Redis starts a standalone Redis for a test.
func Redis(t child.TB, o *RedisOptions) *Server {
	t.Helper()
	return child.ForTest(t, StartRedis, o, report)
}

// Sentinel starts a master, its replica and three sentinels for a test.
func Sentinel(t child.TB, o *SentinelOptions) *Server {
	t.Helper()
	return child.ForTest(t, StartSentinel, o, report)
}

// RedisCluster starts a Redis cluster for a test.
func RedisCluster(t child.TB, o *ClusterOptions) *Server {
	t.Helper()
	return child.ForTest(t, StartRedisCluster, o, report)
}

// Rnacos starts an r-nacos for a test.
func Rnacos(t child.TB, o *RnacosOptions) *Server {
	t.Helper()
	return child.ForTest(t, StartRnacos, o, report)
}

func report(s *Server) string { return s.Kind() + ":\n" + s.Logs(15) }
