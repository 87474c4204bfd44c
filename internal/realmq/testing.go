package realmq

import (
	"fmt"

	"github.com/go-msha/msha/internal/child"
)

// New starts a cluster for a test and stops it when the test ends. If the test failed, the ends of the server's logs are printed. A
// missing server fails the test.
func New(t child.TB, o *Options) *Cluster {
	t.Helper()
	return child.ForTest(t, Start, o, func(c *Cluster) string { return fmt.Sprintf("RocketMQ %s:\n%s", c.Version(), c.Logs(15)) })
}
