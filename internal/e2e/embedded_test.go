package e2e

import (
	"testing"

	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
)

func init() { rlog.SetLogLevel("fatal") } // client-go's log is a process global

type embedded struct{ *embedmq.Cluster }

func (e embedded) restart(broker string) error { return e.Restart(broker, embedmq.KeepAll) }

func onEmbedded(t *testing.T, names ...string) map[string]site {
	return embeddedWith(t, embedmq.Options{}, names...)
}

func embeddedWith(t *testing.T, o embedmq.Options, names ...string) map[string]site {
	stopShared() // these tests are parallel: those that are not, which share the real clusters, have ended
	out := map[string]site{}
	for _, name := range names {
		o.Brokers, o.DelayLevels, o.PropertyFilter = []string{"broker-" + name}, delayLevels, true
		c, err := embedmq.Start(&o)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		out[name] = embedded{c}
	}
	return out
}

func TestClosedLoop(t *testing.T)      { t.Parallel(); closedLoop(t, onEmbedded) }
func TestUnderLoad(t *testing.T)       { t.Parallel(); underLoad(t, onEmbedded) }
func TestContent(t *testing.T)         { t.Parallel(); content(t, onEmbedded) }
func TestAborted(t *testing.T)         { t.Parallel(); aborted(t, onEmbedded) }
func TestBrokerKilled(t *testing.T)    { t.Parallel(); brokerKilled(t, onEmbedded) }
func TestRefused(t *testing.T)         { t.Parallel(); refused(t, onEmbedded) }
func TestWrongSetup(t *testing.T)      { t.Parallel(); wrongSetup(t, onEmbedded) }
func TestOrderedGroup(t *testing.T)    { t.Parallel(); orderedGroup(t, onEmbedded) }
func TestSQLFilter(t *testing.T)       { t.Parallel(); sqlFilter(t, onEmbedded) }
func TestStuck(t *testing.T)           { t.Parallel(); stuck(t, onEmbedded) }
func TestIsolated(t *testing.T)        { t.Parallel(); isolated(t, onEmbedded) }
func TestStrictIsolated(t *testing.T)  { t.Parallel(); strictIsolated(t, onEmbedded) }
func TestHundredSwitches(t *testing.T) { t.Parallel(); hundred(t, onEmbedded) }
