package realmq

import "context"

// TB is what New needs of a testing.TB.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// New starts a cluster for a test and stops it when the test ends. If the test failed, the ends of the server's logs are printed. A
// missing server fails the test.
func New(t TB, o *Options) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("RocketMQ %s:\n%s", c.Version(), c.Logs(15))
		}
		c.Stop()
	})
	return c
}
