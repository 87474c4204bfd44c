//go:build real

package copychaos

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/child"
	"github.com/go-msha/msha/internal/netproxy"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/replicate"
)

const master = "broker-target"

// TestLostTail: the target's broker comes back without its last copies, because a slave that had not got them was promoted, or because
// its data was restored from a backup. They are copied again. Of the target's name servers the first is silent, the second is not there,
// and the third dies while copies are made.
func TestLostTail(t *testing.T) {
	t.Parallel()
	home, err := embedmq.Start(&embedmq.Options{Brokers: []string{"broker-home"}})
	require.NoError(t, err)
	t.Cleanup(home.Close)
	c := clusters(t, &realmq.Options{Version: *version, Brokers: []string{master}, Slaves: []string{master}})[0]
	servers := nameServers(t, c.NameServer())
	target := on("unit-2", c)
	target.servers = []string{servers.text}
	w := newWorld(t, within(t, 20*time.Minute), memory.New(), &unit{name: "unit-1", servers: []string{home.NameServer()}}, target)
	origin := w.units[0]
	w.createTopic(origin, "SMS", 2)
	r, _ := w.replicate(origin, replicate.Options{})
	const part = 2000
	step := func() {
		w.fill(origin, "SMS", part)
		w.caughtUp(origin, target, "SMS")
	}
	lose := func(how string, do func()) {
		before := w.copies(origin, target, "SMS")
		r.Pause("SMS") // so that the loss can be seen
		do()
		require.EqualValues(t, before-part, w.copies(origin, target, "SMS"), how)
		r.Resume("SMS")
		report := w.audited(origin, target, replicate.AuditOptions{}, "SMS")
		require.EqualValues(t, before, compared(report))
		require.Zero(t, report.Count(replicate.Repeated))
		t.Logf("%s lacked %d of %d copies, they were made again", how, part, before)
	}
	step()
	w.slaveHas(origin, target)
	require.NoError(t, c.Kill(realmq.Slave(master)))
	step()
	lose("the promoted slave", func() { require.NoError(t, c.Promote(w.ctx, master)) })

	servers.third.Cut()
	require.NoError(t, c.Kill(master))
	backup := t.TempDir()
	require.NoError(t, os.CopyFS(backup, os.DirFS(c.StoreDir(master))))
	require.NoError(t, c.Restart(w.ctx, master))
	step()
	lose("the backup", func() {
		require.NoError(t, c.Kill(master))
		require.NoError(t, os.RemoveAll(c.StoreDir(master)))
		require.NoError(t, os.CopyFS(c.StoreDir(master), os.DirFS(backup)))
		require.NoError(t, c.Restart(w.ctx, master))
	})
}

// slaveHas waits until the slave has all copies. It learns of new topics once a minute only.
func (w *world) slaveHas(origin, target *unit) {
	w.Helper()
	addr := target.cluster.Addr(realmq.Slave(master))
	for _, q := range w.layout(origin, target) {
		w.eventually("the slave follows", func() bool {
			end, err := target.mq.MaxOffset(w.ctx, q)
			require.NoError(w, err)
			resp, err := target.client.Call(w.ctx, addr, remoting.NewRequest(remoting.ReqGetMaxOffset, map[string]string{
				"topic": q.Topic, "queueId": strconv.Itoa(q.ID), "bname": q.Broker}, nil))
			require.NoError(w, err)
			at, ok := resp.Int64("offset")
			return ok && at == end
		})
	}
}

// entry is one entry of a unit document with four name servers: one does not answer, one is not there, the third and the fourth work.
type entry struct {
	text  string
	third *netproxy.Proxy
}

func nameServers(t *testing.T, real string) (e entry) {
	t.Helper()
	proxy := func() *netproxy.Proxy {
		p, err := netproxy.Start(real)
		require.NoError(t, err)
		t.Cleanup(p.Close)
		return p
	}
	silent := proxy()
	silent.Blackhole()
	absent, err := child.FreePort(0)
	require.NoError(t, err)
	e.third = proxy()
	e.text = strings.Join([]string{silent.Addr(), fmt.Sprint("127.0.0.1:", absent), e.third.Addr(), proxy().Addr()}, ";")
	return e
}
