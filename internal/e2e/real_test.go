//go:build real

package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/realmq"
)

type realSite struct{ *realmq.Cluster }

func (r realSite) restart(broker string) error { return r.Restart(context.Background(), broker) }

// shared are the clusters of all scenarios: most of the time would go into starting JVMs.
var shared = map[string]site{}

// onReal starts the clusters that are not running yet, all at once.
func onReal(t *testing.T, names ...string) map[string]site {
	type started struct {
		name string
		c    *realmq.Cluster
		err  error
	}
	all, missing := make(chan started), 0
	for _, name := range names {
		if shared[name] != nil {
			continue
		}
		missing++
		go func() {
			c, err := realmq.Start(t.Context(), &realmq.Options{Brokers: []string{"broker-" + name}, DelayLevels: delayLevels})
			all <- started{name, c, err}
		}()
	}
	for range missing {
		s := <-all
		require.NoError(t, s.err, s.name)
		atEnd = append(atEnd, s.c.Stop)
		shared[s.name] = realSite{s.c}
	}
	out := map[string]site{}
	for _, name := range names {
		out[name] = shared[name]
	}
	return out
}

func TestClosedLoopOnRealRocketMQ(t *testing.T)   { closedLoop(t, onReal) }
func TestUnderLoadOnRealRocketMQ(t *testing.T)    { underLoad(t, onReal) }
func TestContentOnRealRocketMQ(t *testing.T)      { content(t, onReal) }
func TestAbortedOnRealRocketMQ(t *testing.T)      { aborted(t, onReal) }
func TestBrokerKilledOnRealRocketMQ(t *testing.T) { brokerKilled(t, onReal) }
func TestRefusedOnRealRocketMQ(t *testing.T)      { refused(t, onReal) }
func TestWrongSetupOnRealRocketMQ(t *testing.T)   { wrongSetup(t, onReal) }
