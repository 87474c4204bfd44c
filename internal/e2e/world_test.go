package e2e

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/replicate"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/tagging"
)

// site is one unit's cluster, embedded or real.
type site interface {
	NameServer() string
	Kill(broker string) error
	restart(broker string) error
}

// backend starts the clusters of a scenario; they stop with the test.
type backend func(t *testing.T, names ...string) map[string]site

// delayLevels of the clusters: a retry comes after a second.
var delayLevels = []time.Duration{time.Second, time.Second, time.Second, time.Second, time.Second, time.Second}

// world is a running installation.
type world struct {
	*testing.T
	ctx     context.Context
	server  metastore
	store   msha.MetaStore // the scenario's own client of it
	sites   map[string]site
	journal *journal
	log     *slog.Logger
	manager *manager.Manager
	copying map[string]func() // by origin: stops its replicator
	http    *httptest.Server
	names   []string
	topic   string // of this scenario alone: clusters may be shared
	group   string

	operator bool // somebody resets offsets; otherwise no engine may believe that
	serial   atomic.Int64
	selector producer.QueueSelector // of producers
}

var scenarios atomic.Int64

// member is one consumer instance.
type member struct {
	w        *world
	unit     *agent.Unit
	name     string
	consumer rocketmq.PushConsumer
	opts     []consumer.Option // besides the usual ones
	fail     func(key string, attempt int) bool
	latency  time.Duration
	down     atomic.Bool
	way      *way // to the metastore
	strict   bool
	gate     time.Duration // 0: the usual one
}

// start is startOn with the documents in memory.
func start(t *testing.T, clusters backend, values map[string][]string, names ...string) *world {
	return startOn(t, clusters, inMemory, values, names...)
}

// startOn brings up the documents, replicators and the manager of an installation; consumers are started by the scenario. Every agent,
// replicator and manager has a client of the metastore to itself, as if it was a process of its own.
func startOn(t *testing.T, clusters backend, stores storeBackend, values map[string][]string, names ...string) *world {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	id := scenarios.Add(1)
	w := &world{
		T: t, ctx: ctx, sites: clusters(t, names...), journal: newJournal(), names: names, copying: map[string]func(){}, selector: producer.NewRoundRobinQueueSelector(),
		topic: fmt.Sprintf("SMS-%d", id), group: fmt.Sprintf("channel-%d", id),
	}
	w.log = w.testLog()
	w.server = stores(w)
	w.store = w.connect()
	units := &msha.Units{}
	for _, name := range names {
		units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: []string{w.sites[name].NameServer()}, Credentials: w.reference(name), State: "live"})
		w.createTopic(name, w.topic, 4)
	}
	table, err := route.New(names, values)
	require.NoError(t, err)
	require.NoError(t, route.Init(ctx, w.store, table, units))
	for _, name := range names {
		w.replicate(name)
	}
	w.manage(&manager.Options{})
	return w
}

// manage starts a manager that is asked from now on.
func (w *world) manage(o *manager.Options) {
	o.Logger, o.Access = w.log, access
	m, err := manager.New(w.ctx, w.connect(), o)
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, m.Close()) })
	w.manager, w.http = m, httptest.NewServer(m)
	w.Cleanup(w.http.Close)
}

// testLog keeps the log of a scenario and shows it if the scenario fails.
func (w *world) testLog() *slog.Logger {
	b := &logtest.Log{}
	w.Cleanup(func() {
		if !w.operator && strings.Contains(b.String(), "offset reset") {
			w.Error("an engine took its group's own offsets for somebody else's")
		}
		if !w.Failed() {
			return
		}
		f, err := os.CreateTemp("", "msha-e2e-*.log")
		if err == nil {
			defer f.Close()           //nolint:errcheck // a log
			f.WriteString(b.String()) //nolint:errcheck // a log
			w.Logf("log: %s", f.Name())
		}
	})
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (w *world) cluster(unit string) (*remoting.Cluster, func()) {
	client := remoting.NewClient(&remoting.Options{Logger: w.log, Credentials: account(w.reference(unit))})
	return remoting.NewCluster([]string{w.sites[unit].NameServer()}, client), client.Close
}

func (w *world) createTopic(unit, name string, queues int) {
	w.Helper()
	cl, done := w.cluster(unit)
	defer done()
	brokers, err := cl.Brokers(w.ctx)
	require.NoError(w, err)
	for _, addr := range brokers {
		require.NoError(w, cl.CreateTopic(w.ctx, addr, remoting.TopicConfig{Name: name, Read: queues, Write: queues}))
	}
}

func (w *world) replicate(origin string) {
	r, err := replicate.New(origin, w.connect(), &replicate.Options{Topics: []string{w.topic}, Discover: 200 * time.Millisecond, Logger: w.log, Access: access})
	require.NoError(w, err)
	ctx, stop := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	w.copying[origin] = sync.OnceFunc(func() {
		stop()
		require.NoError(w, <-done)
	})
	w.Cleanup(w.copying[origin])
}

// join starts one more consumer instance in a unit.
func (w *world) join(unit string, change ...func(*member)) *member {
	w.Helper()
	m := &member{w: w, name: fmt.Sprintf("%s/%d", unit, w.serial.Add(1)), fail: func(string, int) bool { return false }, way: &way{}}
	for _, f := range change {
		f(m)
	}
	var err error
	m.unit, err = agent.Join(w.ctx, unit, m.way.to(w.connect()), &agent.Options{Logger: w.log.With("member", m.name), Access: access, GateWindow: m.gate, Strict: m.strict})
	require.NoError(w, err)
	m.consumer, err = m.unit.NewPushConsumer(append(m.opts, consumer.WithGroupName(w.group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))...)
	require.NoError(w, err)
	require.NoError(w, m.consumer.Subscribe(w.topic, consumer.MessageSelector{}, m.handle))
	require.NoError(w, m.consumer.Start())
	w.Cleanup(func() { m.leave() })
	return m
}

// leave is a graceful shutdown.
func (m *member) leave() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.w.ctx), time.Minute)
	defer cancel()
	require.NoError(m.w, m.unit.Close(ctx), m.name)
}

func (m *member) handle(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	for _, msg := range msgs {
		key, start := msg.GetKeys(), time.Now()
		m.w.journal.begun(key)
		if m.latency > 0 {
			time.Sleep(m.latency) // the work
		}
		r := run{unit: m.unit.Name(), instance: m.name, value: msg.GetProperty(msha.PropertyRoute), start: start}
		r.ok = !m.down.Load() && !m.fail(key, m.w.journal.attempts(key))
		r.end = time.Now()
		m.w.journal.ran(key, r)
		if !r.ok {
			return consumer.ConsumeRetryLater, nil
		}
	}
	return consumer.ConsumeSuccess, nil
}

// failing makes a handler fail a share of the first attempts, the same messages in every run.
func failing(percent uint32) func(*member) {
	return func(m *member) {
		m.fail = func(key string, attempt int) bool {
			h := fnv.New32a()
			fmt.Fprintf(h, "%s %d", key, attempt)
			return attempt < 3 && h.Sum32()%100 < percent
		}
	}
}

func slow(d time.Duration) func(*member) { return func(m *member) { m.latency = d } }

// produce returns a function that sends messages of a unit one by one.
func (w *world) produce(unit string) func(value string, n int) {
	w.Helper()
	u, err := agent.Join(w.ctx, unit, w.store, &agent.Options{Logger: w.log, Access: access})
	require.NoError(w, err)
	p, err := u.NewProducer(producer.WithGroupName("mtr"), producer.WithRetry(3), producer.WithQueueSelector(w.selector))
	require.NoError(w, err)
	require.NoError(w, p.Start())
	w.Cleanup(func() { require.NoError(w, u.Close(context.WithoutCancel(w.ctx))) })
	return func(value string, n int) {
		for range n {
			key := fmt.Sprintf("%s-%s-%06d", unit, value, w.serial.Add(1))
			m := primitive.NewMessage(w.topic, []byte("body of "+key)).WithKeys([]string{key}).WithShardingKey(value)
			for _, err := p.SendSync(tagging.With(w.ctx, value), m); err != nil; _, err = p.SendSync(tagging.With(w.ctx, value), m) {
				// Nobody knows whether it was stored: it does not count, and another one is sent in its place.
				w.journal.unsure(key)
				if w.ctx.Err() != nil {
					w.Errorf("send %s: %v", key, err)
					return
				}
				time.Sleep(50 * time.Millisecond)
				key = fmt.Sprintf("%s-%s-%06d", unit, value, w.serial.Add(1))
				m = primitive.NewMessage(w.topic, []byte("body of "+key)).WithKeys([]string{key}).WithShardingKey(value)
			}
			w.journal.produced(key, unit, value)
		}
	}
}

// steadily produces rate messages a second, round robin over values, until the returned function is called.
func (w *world) steadily(unit string, rate int, values ...string) (stop func()) {
	send := w.produce(unit)
	ctx, cancel := context.WithCancel(w.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
				send(values[i%len(values)], 1)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// move switches over HTTP and fails the test unless the answer is 200. Its deadline is long: a busy machine must not decide.
func (w *world) move(query string) manager.Answer {
	w.Helper()
	status, answer, failure := w.tryMove(query + "&deadline=60s")
	require.Equal(w, http.StatusOK, status, "%s: %s", query, failure.Error)
	phases := ""
	for _, p := range answer.Phases {
		phases += fmt.Sprintf(", %s %.0f", p.Phase, p.DurationMS)
	}
	w.Logf("switch %s: %.0f ms (%s), pause %.0f ms, taken over %d, pending %d", query, answer.DurationMS, strings.TrimPrefix(phases, ", "), answer.PauseMS, answer.TakenOver, answer.Pending)
	return answer
}

// settled waits until every message produced was processed, and then until retries on their way have come due; nobody may be producing.
func (w *world) settled() verdict {
	w.Helper()
	w.eventually("every message processed", func() bool { return w.journal.verdict().Lost == 0 })
	return w.quiet()
}

// quiet waits until the journal has not changed for longer than a retry takes.
func (w *world) quiet() verdict {
	w.Helper()
	last, since := w.journal.verdict(), time.Now()
	for time.Since(since) < delayLevels[0]+1500*time.Millisecond {
		time.Sleep(50 * time.Millisecond)
		if v := w.journal.verdict(); v.String() != last.String() {
			last, since = v, time.Now()
		}
	}
	return last
}

// exact asserts that every message was processed once.
func (w *world) exact(v verdict) {
	w.Helper()
	require.Zero(w, v.Lost, v.String())
	require.Zero(w, v.Repeated, v.String())
	require.Empty(w, v.Twice, v.String())
	require.Zero(w, v.Foreign, v.String())
	require.Equal(w, v.Sent, v.Processed, v.String())
	w.Log(v.String())
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	deadline := time.Now().Add(4 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) || w.ctx.Err() != nil {
			w.Fatalf("%s: not in time: %s", what, w.journal.verdict())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
