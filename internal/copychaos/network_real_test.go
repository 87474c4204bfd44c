//go:build real

package copychaos

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/netproxy"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/replicate"
)

// far is a unit that others reach through proxies: its brokers listen at another address than they tell.
type far struct {
	*unit
	proxies []*netproxy.Proxy
}

const hidden = "127.0.0.2"

func farAway(t *testing.T, name string, c *realmq.Cluster, brokers ...string) *far {
	t.Helper()
	f := &far{}
	proxy := func(at, target string) string {
		p, err := netproxy.StartAt(at, target)
		require.NoError(t, err)
		t.Cleanup(p.Close)
		f.proxies = append(f.proxies, p)
		return p.Addr()
	}
	f.unit = &unit{name: name, cluster: c, servers: []string{proxy("127.0.0.1:0", c.NameServer())}}
	for _, b := range brokers {
		_, port, err := net.SplitHostPort(c.Addr(b))
		require.NoError(t, err)
		proxy(c.Addr(b), net.JoinHostPort(hidden, port))
	}
	return f
}

func (f *far) each(do func(*netproxy.Proxy)) {
	for _, p := range f.proxies {
		do(p)
	}
}

// attempts is how many connections were made so far.
func (f *far) attempts() (n int) {
	f.each(func(p *netproxy.Proxy) { n += p.Accepted() })
	return n
}

// slow is a round trip of 100 ms ± 20 ms.
func (f *far) slow() {
	f.each(func(p *netproxy.Proxy) { p.Delay(40*time.Millisecond, 20*time.Millisecond) })
}

func (f *far) fast() { f.each(func(p *netproxy.Proxy) { p.Delay(0, 0) }) }

// TestNetwork: a unit that is far away, and for a while out of reach.
func TestNetwork(t *testing.T) {
	t.Parallel()
	cs := clusters(t, &realmq.Options{Version: *version},
		&realmq.Options{Brokers: []string{"broker-far"}, Config: map[string]string{"bindAddress": hidden}}) // version 4 knows no such thing
	f := farAway(t, "unit-2", cs[1], "broker-far")
	w := newWorld(t, within(t, 20*time.Minute), memory.New(), on("unit-1", cs[0]), f.unit)
	t.Run("delay", func(t *testing.T) { delay(w.sub(t), f) })
	t.Run("partition", func(t *testing.T) { cutOff(w.sub(t), f) })
}

// delay copies the same messages over a near and a far network. Everything arrives in order; how fast is only said.
func delay(w *world, f *far) {
	origin := w.units[0]
	rate := func(topic string, o replicate.Options) float64 {
		w.createTopic(origin, topic, 4)
		o.Topics = []string{topic}
		r, stop := w.replicate(origin, o)
		w.eventually("the pipes run", func() bool { lags, err := r.Lag(w.ctx); return err == nil && len(lags) == 4 })
		r.Pause(topic)
		w.fill(origin, topic, *preload)
		begun := time.Now()
		r.Resume(topic)
		w.eventually("everything is copied", func() bool {
			lags, err := r.Lag(w.ctx)
			for _, lag := range lags {
				err = orElse(err, lag.Messages == 0)
			}
			return err == nil
		})
		took := time.Since(begun)
		stop()
		f.fast()
		report := w.audited(origin, f.unit, replicate.AuditOptions{}, topic)
		require.EqualValues(w, *preload, compared(report))
		require.Zero(w, report.Count(replicate.Repeated))
		return float64(*preload) / took.Seconds()
	}
	for _, pull := range []int{32, 1024} { // as brokers are delivered, and set to give more at once
		w.configure(origin, map[string]int{"maxTransferCountOnMessageInMemory": pull, "maxTransferBytesOnMessageInMemory": pull * 8192})
		near := rate(fmt.Sprint("near-", pull), replicate.Options{})
		f.slow()
		away := rate(fmt.Sprint("far-", pull), replicate.Options{})
		w.Logf("pulls of %d: %.0f messages/s near, %.0f with a round trip of 100 ms: %.0f %%", pull, near, away, 100*away/near)
	}
	f.slow()
	w.Logf("batches of 2048: %.0f messages/s with a round trip of 100 ms", rate("large", replicate.Options{BatchMessages: 2048, BatchBytes: 4 << 20}))
}

func orElse(err error, ok bool) error {
	if err == nil && !ok {
		return errBehind
	}
	return err
}

var errBehind = fmt.Errorf("behind")

// fill sends messages of 500 bytes, evenly over the queues.
func (w *world) fill(u *unit, topic string, n int) {
	w.Helper()
	queues, body := w.queues(u, topic), make([]byte, 500)
	for sent, i := 0, 0; sent < n; i++ {
		var ms []*remoting.Message
		for range min(100, n-sent) {
			sent++
			ms = append(ms, &remoting.Message{Body: body, Properties: map[string]string{"UNIQ_KEY": fmt.Sprint(topic, sent)}})
		}
		_, err := u.mq.SendBatch(w.ctx, queues[i%len(queues)], "mtr", ms)
		require.NoError(w, err)
	}
}

// configure changes properties of a unit's brokers while they run.
func (w *world) configure(u *unit, properties map[string]int) {
	w.Helper()
	const updateBrokerConfig = 25
	body := ""
	for k, v := range properties {
		body += fmt.Sprintf("%s=%d\n", k, v)
	}
	brokers, err := u.mq.Brokers(w.ctx)
	require.NoError(w, err)
	for _, addr := range brokers {
		resp, err := u.client.Call(w.ctx, addr, remoting.NewRequest(updateBrokerConfig, nil, []byte(body)))
		require.NoError(w, err)
		require.Equal(w, remoting.RespSuccess, resp.Code, resp.Remark)
	}
}
