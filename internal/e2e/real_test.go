//go:build real

package e2e

import (
	"context"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/realmq"
)

type realSite struct{ *realmq.Cluster }

func (r realSite) restart(broker string) error { return r.Restart(context.Background(), broker) }

// resetOffsets has mqadmin do it.
func (r realSite) resetOffsets(ctx context.Context, group, topic string, timestamp int64) error {
	at := "now"
	if timestamp >= 0 {
		at = strconv.FormatInt(timestamp, 10)
	}
	_, err := r.Admin(ctx, "resetOffsetByTime", "-g", group, "-t", topic, "-s", at, "-f", "true")
	return err
}

// onReal starts the clusters that are not running yet, all at once.
func onReal(t *testing.T, names ...string) map[string]site {
	type started struct {
		name string
		c    *realmq.Cluster
		err  error
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.sites == nil {
		shared.sites = map[string]site{}
	}
	all, missing := make(chan started), 0
	for _, name := range names {
		if shared.sites[name] != nil {
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
		shared.stops = append(shared.stops, s.c.Stop)
		shared.sites[s.name] = realSite{s.c}
	}
	out := map[string]site{}
	for _, name := range names {
		out[name] = shared.sites[name]
	}
	return out
}

// onReal4 starts clusters of RocketMQ 4 for one scenario.
func onReal4(t *testing.T, names ...string) map[string]site {
	stopShared() // two versions at once are too much for a small machine
	out := map[string]site{}
	for _, name := range names {
		out[name] = realSite{realmq.New(t, &realmq.Options{Version: realmq.V4, Brokers: []string{"broker-" + name}, DelayLevels: delayLevels})}
	}
	return out
}

func TestClosedLoopOnRealRocketMQ(t *testing.T)      { closedLoop(t, onReal) }
func TestUnderLoadOnRealRocketMQ(t *testing.T)       { underLoad(t, onReal) }
func TestContentOnRealRocketMQ(t *testing.T)         { content(t, onReal) }
func TestAbortedOnRealRocketMQ(t *testing.T)         { aborted(t, onReal) }
func TestBrokerKilledOnRealRocketMQ(t *testing.T)    { brokerKilled(t, onReal) }
func TestRefusedOnRealRocketMQ(t *testing.T)         { refused(t, onReal) }
func TestWrongSetupOnRealRocketMQ(t *testing.T)      { wrongSetup(t, onReal) }
func TestOrderedGroupOnRealRocketMQ(t *testing.T)    { orderedGroup(t, onReal) }
func TestSQLFilterOnRealRocketMQ(t *testing.T)       { sqlFilter(t, onReal) }
func TestStuckOnRealRocketMQ(t *testing.T)           { stuck(t, onReal) }
func TestIsolatedOnRealRocketMQ(t *testing.T)        { isolated(t, onReal) }
func TestStrictIsolatedOnRealRocketMQ(t *testing.T)  { strictIsolated(t, onReal) }
func TestHundredSwitchesOnRealRocketMQ(t *testing.T) { hundred(t, onReal) }
func TestReplayOnRealRocketMQ(t *testing.T)          { replay(t, onReal) }
func TestOneSidedGroupOnRealRocketMQ(t *testing.T)   { oneSided(t, onReal) }
func TestResetsOnRealRocketMQ(t *testing.T)          { resets(t, onReal) }
func TestResetsOnRealRocketMQ4(t *testing.T)         { resets(t, onReal4) }
