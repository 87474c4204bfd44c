// Package realmq runs real RocketMQ clusters for tests and demonstrations: it fetches the server's jars by Maven into a cache, starts
// a name server and brokers on free ports of 127.0.0.1 in a temporary folder, kills and restarts brokers with their store, and stops
// everything it started.
//
// It needs java and mvn in PATH; `make deps` installs them. The cache is $MSHA_CACHE, or msha in the user's cache folder.
//
// Tests that need a real server have the build tag real and live in files *_real_test.go: `go test -tags real ./...` runs them too.
// There a missing java or mvn is a failure.
//
//	c, err := realmq.Start(ctx, &realmq.Options{Version: realmq.V5})
//	defer c.Stop()
//	use(c.NameServer())
package realmq
