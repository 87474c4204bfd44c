//go:build real

package copychaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/child"
	"github.com/go-msha/msha/internal/remoting"
)

// crew are the replicator processes of a mesh, several for each origin.
type crew struct {
	*world
	url string
	dir string

	members []*member
	marks   map[string]map[remoting.Queue][]int64 // by unit and replica queue, where it ended when a process that copies there was killed or thawed
	hung    string                                // a broker that stands still
	down    atomic.Int32                          // brokers that hang or start
	grace   int                                   // kills for which the spared origin is left alone
	kills   int
	freezes int
}

// spared is the origin whose processes live on while a broker is down and until they have met it again: a new process has nothing
// that it could remember wrongly.
const spared = "unit-3"

const graceKills = 3

type member struct {
	origin string
	proc   *child.Process
	still  bool // frozen
	starts int
}

func (w *world) crew(url string, perOrigin int) *crew {
	w.Helper()
	c := &crew{world: w, url: url, dir: w.TempDir(), marks: map[string]map[remoting.Queue][]int64{}}
	for range perOrigin {
		for _, u := range w.units {
			m := &member{origin: u.name}
			c.members = append(c.members, m)
			c.start(m)
		}
	}
	w.Cleanup(func() {
		for _, m := range c.members {
			m.proc.Kill()
			if w.Failed() {
				w.Logf("replicator of %s:\n%s", m.origin, child.LastLines(m.proc.Tail(), 20))
			}
		}
	})
	return c
}

func (c *crew) start(m *member) {
	c.Helper()
	self, err := os.Executable()
	require.NoError(c, err)
	m.starts++
	m.proc, err = child.Start(child.Spec{
		Name: "replicator", Path: self, Dir: c.dir, Env: []string{fmt.Sprintf("%s=%s %s %s", childEnv, m.origin, c.url, *lease)},
		Output: filepath.Join(c.dir, fmt.Sprintf("%s-%p-%d", m.origin, m, m.starts)),
	})
	require.NoError(c, err)
}

// kill ends the next member that is not frozen, and starts it again.
func (c *crew) kill() {
	c.Helper()
	c.grace = max(c.grace-1, 0)
	if c.down.Load() > 0 {
		c.grace = graceKills
	}
	for {
		m := c.members[0]
		c.members = append(c.members[1:], m)
		if m.still || c.grace > 0 && m.origin == spared {
			continue
		}
		require.True(c, m.proc.Running(), "it ended by itself:\n%s", m.proc.Tail())
		m.proc.Kill()
		c.kills++
		c.mark(m.origin)
		c.start(m)
		return
	}
}

// freeze makes the member that would be killed last stand still until thaw.
func (c *crew) freeze() (thaw func()) {
	c.Helper()
	m := c.members[len(c.members)-1]
	require.NoError(c, m.proc.Freeze())
	m.still = true
	c.freezes++
	return sync.OnceFunc(func() {
		c.mark(m.origin)
		require.NoError(c, m.proc.Thaw())
		m.still = false
	})
}

// mark notes where the replica queues of an origin end, as far as their brokers answer.
func (c *crew) mark(origin string) {
	for _, u := range c.units {
		for _, replica := range c.layout(c.unit(origin), u) {
			if replica.Broker == c.hung {
				continue
			}
			if c.marks[u.name] == nil {
				c.marks[u.name] = map[remoting.Queue][]int64{}
			}
			if end, err := u.mq.MaxOffset(c.ctx, replica); err == nil {
				c.marks[u.name][replica] = append(c.marks[u.name][replica], end)
			}
		}
	}
}

// explained reports whether a repetition begins where a process was just killed or thawed: the batch it had on its way came behind
// those of its successor.
func (c *crew) explained(target *unit, replica remoting.Queue, at int64) bool {
	return slices.ContainsFunc(c.marks[target.name][replica], func(end int64) bool { return at >= end && at <= end+4*batch })
}

// hang makes a broker stand still until outage, so that sends to it are on their way then.
func (c *crew) hang(u *unit, broker string) {
	c.Helper()
	require.NoError(c, u.cluster.Freeze(broker))
	c.hung = broker
	c.down.Add(1)
}

// outage kills a broker and restarts it in the background.
func (c *crew) outage(u *unit, broker string, done *sync.WaitGroup) {
	c.Helper()
	c.hung = ""
	require.NoError(c, u.cluster.Kill(broker))
	done.Go(func() {
		defer c.down.Add(-1)
		if err := u.cluster.Restart(c.ctx, broker); err != nil {
			c.Errorf("restart %s: %v", broker, err)
		}
	})
}

// every calls step now and every d, n times.
func (c *crew) every(d time.Duration, n int, step func(int)) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for i := range n {
		step(i)
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
	}
}
