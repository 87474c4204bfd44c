//go:build real

package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/realmq"
)

type realSite struct {
	*realmq.Cluster
	ctx context.Context
}

func (r realSite) restart(broker string) error { return r.Restart(r.ctx, broker) }

// onReal starts all clusters at once: most of the time goes into starting JVMs.
func onReal(t *testing.T, names ...string) map[string]site {
	type started struct {
		name string
		c    *realmq.Cluster
		err  error
	}
	all := make(chan started)
	for _, name := range names {
		go func() {
			c, err := realmq.Start(t.Context(), &realmq.Options{Brokers: []string{"broker-" + name}, DelayLevels: delayLevels})
			all <- started{name, c, err}
		}()
	}
	out := map[string]site{}
	for range names {
		s := <-all
		require.NoError(t, s.err, s.name)
		t.Cleanup(s.c.Stop)
		out[s.name] = realSite{s.c, t.Context()}
	}
	return out
}

func TestClosedLoopOnRealRocketMQ(t *testing.T) { closedLoop(t, onReal) }
func TestUnderLoadOnRealRocketMQ(t *testing.T)  { underLoad(t, onReal) }
