// Package realstore runs real metastore servers for tests and demonstrations: etcd, Redis (alone, under Sentinel, as a cluster) and
// r-nacos, each on free ports of 127.0.0.1 in a temporary folder. A server, or one node of it, can be killed, frozen, thawed and
// restarted on its port and data; Stop ends everything it started.
//
// `make deps` installs etcd and Redis, `make test-nacos` builds r-nacos into the cache ($MSHA_CACHE, or msha in the user's cache
// folder). Tests that need a real server have the build tag real (r-nacos: real and nacos); there a missing server is a failure.
//
//	s := realstore.Etcd(t, nil)
//	use(s.Addr())
//	s.Kill()
//	err := s.Restart(ctx)
package realstore
