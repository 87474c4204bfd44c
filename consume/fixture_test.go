package consume

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/route"
)

const (
	topic  = "SMS"
	group  = "channel"
	unit   = "unit-1" // owns beijing and shanghai
	other  = "unit-2" // owns guangzhou
	broker = "broker-a"
)

// fixture is one unit's cluster with a routing table, and what its consumers did.
type fixture struct {
	*testing.T
	*embedmq.Cluster
	ctx     context.Context
	mq      *remoting.Cluster
	router  *router
	journal *journal
	out     *output
	serial  atomic.Int64

	blockers []*blocker

	mu   sync.Mutex
	sent []string // keys that are to be processed
}

// start brings up a cluster with the topic in the given number of queues at each broker.
func start(t *testing.T, queues int, o *embedmq.Options) *fixture {
	t.Helper()
	t.Parallel()
	if o == nil {
		o = &embedmq.Options{}
	}
	if o.DelayLevels == nil {
		o.DelayLevels = slices.Repeat([]time.Duration{30 * time.Millisecond}, 18)
	}
	c, err := embedmq.Start(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	f := &fixture{T: t, Cluster: c, journal: &journal{}, out: &output{}}
	var cancel context.CancelFunc
	f.ctx, cancel = context.WithTimeout(t.Context(), 35*time.Second)
	t.Cleanup(cancel)
	client := remoting.NewClient(&remoting.Options{Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(client.Close)
	f.mq = remoting.NewCluster([]string{c.NameServer()}, client)
	table, err := route.New([]string{unit, other}, map[string][]string{unit: {"beijing", "shanghai"}, other: {"guangzhou"}})
	require.NoError(t, err)
	f.router = newRouter(table)
	f.topic(topic, queues)
	f.topic(msha.ProgressTopic, 1)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(f.out.tail(20000))
		}
	})
	return f
}

func (f *fixture) topic(name string, queues int) {
	f.Helper()
	brokers, err := f.mq.Brokers(f.ctx)
	require.NoError(f, err)
	for _, addr := range brokers {
		require.NoError(f, f.mq.CreateTopic(f.ctx, addr, remoting.TopicConfig{Name: name, Read: queues, Write: queues}))
	}
}

func home(id int) remoting.Queue { return remoting.Queue{Topic: topic, Broker: broker, ID: id} }

func origin(q remoting.Queue) msha.OriginQueue {
	return msha.OriginQueue{Unit: unit, Broker: q.Broker, Topic: q.Topic, Queue: q.ID}
}

// message is one with a key and a routing value, "" for none.
func message(key, value string) *remoting.Message {
	m := &remoting.Message{Body: []byte(key), Properties: map[string]string{"KEYS": key, msha.PropertyUnit: unit}}
	if value != "" {
		m.Properties[msha.PropertyRoute] = value
	}
	return m
}

// put stores messages.
func (f *fixture) put(q remoting.Queue, ms ...*remoting.Message) {
	f.Helper()
	for _, m := range ms {
		_, err := f.mq.Send(f.ctx, q, "producers", m)
		require.NoError(f, err)
	}
}

// send stores n messages that are to be processed in the queues in turn and returns their keys.
func (f *fixture) send(value string, n int, queues ...remoting.Queue) (keys []string) {
	f.Helper()
	for i := range n {
		key := fmt.Sprintf("%s-%d", value, f.serial.Add(1))
		f.put(queues[i%len(queues)], message(key, value))
		keys = append(keys, key)
	}
	f.expect(keys...)
	return keys
}

// skip stores messages nobody here is to process.
func (f *fixture) skip(value string, n int, queues ...remoting.Queue) {
	f.Helper()
	for i := range n {
		f.put(queues[i%len(queues)], message(fmt.Sprintf("%s-%d", value, f.serial.Add(1)), value))
	}
}

func (f *fixture) expect(keys ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, keys...)
}

func (f *fixture) keys() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}

// eventually polls; what it waits for is not a matter of time.
func (f *fixture) eventually(what string, ok func() bool) {
	f.Helper()
	for !ok() {
		if f.ctx.Err() != nil {
			f.Fatalf("%s: not in time: %d started, %d succeeded, %v", what, f.journal.started(), f.journal.succeeded(), f.journal.wrong(f.keys()))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// records reads a broker's fact log to its end.
func (f *fixture) records(broker string) (out []filter.Record) {
	f.Helper()
	q := remoting.Queue{Topic: msha.ProgressTopic, Broker: broker}
	for at := int64(0); ; {
		res, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "tests", Offset: at})
		require.NoError(f, err)
		for _, m := range res.Messages {
			rs, err := filter.DecodeLog(m.Body, m.QueueOffset)
			require.NoError(f, err)
			out = append(out, rs...)
		}
		if res.Status != remoting.PullFound {
			return out
		}
		at = res.NextOffset
	}
}

// facts folds all logs.
func (f *fixture) facts() *filter.GroupFacts {
	f.Helper()
	brokers, err := f.mq.Brokers(f.ctx)
	require.NoError(f, err)
	all := filter.NewFacts()
	for name := range brokers {
		for _, r := range f.records(name) {
			all.Apply(name, r)
		}
	}
	return all.Group(group)
}

// write appends records to a log.
func (f *fixture) write(q remoting.Queue, rs ...filter.Record) int64 {
	f.Helper()
	res, err := f.mq.Send(f.ctx, q, "tests", &remoting.Message{Body: filter.EncodeRecords(rs)})
	require.NoError(f, err)
	return res.QueueOffset
}

func factLog() remoting.Queue { return remoting.Queue{Topic: msha.ProgressTopic, Broker: broker} }

func (f *fixture) committed(q remoting.Queue) int64 {
	off, err := f.mq.CommittedOffset(f.ctx, group, q)
	if err != nil {
		return -1
	}
	return off
}

// acknowledged tells whether the group has committed everything there is in its queues of the topics and waits for no retry.
func (f *fixture) acknowledged(topics ...string) bool {
	f.Helper()
	for _, name := range append(topics, "%RETRY%"+group) {
		queues, err := f.mq.Queues(f.ctx, name, false)
		require.NoError(f, err)
		for _, q := range queues {
			end, err := f.mq.MaxOffset(f.ctx, q)
			require.NoError(f, err)
			if f.committed(q) != end {
				return false
			}
		}
	}
	facts := f.facts()
	for _, q := range facts.Queues() {
		for _, term := range []uint64{1, 2, 3} {
			if !facts.Opens(filter.Key{Set: unit, Term: term}, q).Empty() {
				return false
			}
		}
	}
	return true
}

// exact waits until everything was processed and acknowledged and asserts that it was processed once.
func (f *fixture) exact() {
	f.Helper()
	f.eventually("everything processed", func() bool { return f.journal.succeeded() >= len(f.keys()) && f.journal.running() == 0 })
	f.eventually("everything acknowledged", func() bool { return f.acknowledged(topic) })
	require.Empty(f, f.journal.wrong(f.keys()))
}

// appends matches the writing of certain records.
func appends(kinds ...filter.Kind) func(*remoting.Command) bool {
	return func(cmd *remoting.Command) bool {
		if cmd.Ext["b"] != msha.ProgressTopic {
			return false
		}
		rs, err := filter.DecodeRecords(cmd.Body)
		return err == nil && slices.ContainsFunc(rs, func(r filter.Record) bool { return slices.Contains(kinds, r.Kind) })
	}
}

func sendsTo(topic string) func(*remoting.Command) bool {
	return func(cmd *remoting.Command) bool { return cmd.Ext["b"] == topic }
}

// router is a msha.Router whose table can be replaced.
type router struct {
	mu      sync.Mutex
	table   *msha.Table
	changed chan struct{}
}

func newRouter(t *msha.Table) *router { return &router{table: t, changed: make(chan struct{})} }

func (r *router) Table() *msha.Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table
}

func (r *router) Changed(version uint64) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.table.Version > version {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return r.changed
}

func (r *router) set(t *msha.Table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table = t
	close(r.changed)
	r.changed = make(chan struct{})
}

// output keeps what was logged.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// says tells whether a line holds all the parts.
func (o *output) says(parts ...string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for line := range strings.Lines(o.b.String()) {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			return true
		}
	}
	return false
}

func (o *output) tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.b.String()
	return s[max(0, len(s)-n):]
}

// member is one engine of the group.
type member struct {
	*Engine
	f       *fixture
	name    string
	client  *remoting.Client
	cfg     Config
	opts    []consumer.Option
	lim     limits
	tags    string
	do      func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error)
	enters  atomic.Int64
	freshes atomic.Int64
	gone    bool
}

// join starts one more engine that subscribes the topic.
func (f *fixture) join(change ...func(*member)) *member {
	f.Helper()
	m := f.member(change...)
	require.NoError(f, m.Subscribe(topic, consumer.MessageSelector{Expression: m.tags}, m.handle))
	require.NoError(f, m.Start())
	return m
}

// member makes an engine that is not started yet.
func (f *fixture) member(change ...func(*member)) *member {
	f.Helper()
	m := &member{f: f, name: fmt.Sprintf("member-%d", f.serial.Add(1)), lim: defaultLimits()}
	m.client = remoting.NewClient(&remoting.Options{Logger: slog.New(slog.DiscardHandler), OnRequest: func(_ string, req *remoting.Command) *remoting.Command {
		if req.Code == remoting.ReqNotifyConsumerIDsChanged && m.Engine != nil {
			m.Notify(req.Ext["consumerGroup"])
		}
		return nil
	}})
	m.cfg = Config{
		Unit: unit, Cluster: remoting.NewCluster([]string{f.NameServer()}, m.client), Router: f.router, ClientID: m.name,
		Tick: 100 * time.Millisecond, PublishEvery: 20 * time.Millisecond,
		Enter: func(context.Context) error { m.enters.Add(1); return nil },
		Fresh: func(context.Context) (*msha.Table, error) { m.freshes.Add(1); return f.router.Table(), nil },
		WithValue: func(ctx context.Context, value string) context.Context {
			return context.WithValue(ctx, valueKey{}, value)
		},
		Logger: slog.New(slog.NewTextHandler(f.out, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	m.opts = []consumer.Option{consumer.WithGroupName(group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}
	for _, c := range change {
		c(m)
	}
	e, err := New(m.cfg, m.opts...)
	require.NoError(f, err)
	e.limits = m.lim
	m.Engine = e
	f.Cleanup(func() {
		for _, b := range f.blockers {
			b.release()
		}
		m.leave()
		m.client.Close()
	})
	return m
}

type valueKey struct{}

// leave is a graceful shutdown.
func (m *member) leave() {
	if m.gone {
		return
	}
	m.gone = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.f.ctx), 15*time.Second)
	defer cancel()
	require.NoError(m.f, m.Close(ctx), m.name)
}

// kill ends the engine as a dying process does: nothing is sent any more.
func (m *member) kill() {
	m.gone = true
	// A heartbeat on its way could be served after the connection's end, and keep the dead process listed.
	m.f.Inject(embedmq.Fault{Code: remoting.ReqHeartbeat, Drop: true, Match: func(cmd *remoting.Command) bool {
		return bytes.Contains(cmd.Body, []byte(`"clientID":"`+m.name+`"`))
	}})
	m.client.Close()
	m.cancel()
	m.f.Cleanup(m.wg.Wait)
}

func (m *member) handle(ctx context.Context, msgs ...*primitive.MessageExt) (result consumer.ConsumeResult, err error) {
	value, _ := ctx.Value(valueKey{}).(string)
	set, term, _ := Term(ctx)
	var runs []*run
	for _, msg := range msgs {
		r := &run{key: msg.GetKeys(), by: m.name, topic: msg.Topic, value: value, set: set, term: term, attempt: msg.ReconsumeTimes, together: len(msgs)}
		m.f.journal.begin(r)
		runs = append(runs, r)
	}
	defer func() {
		p := recover()
		for _, r := range runs {
			m.f.journal.end(r, p == nil && err == nil && result == consumer.ConsumeSuccess && ctx.Err() == nil)
		}
		if p != nil {
			panic(p)
		}
	}()
	for _, msg := range msgs {
		if m.do == nil {
			continue
		}
		if result, err := m.do(ctx, msg); err != nil || result != consumer.ConsumeSuccess {
			return result, err
		}
	}
	return consumer.ConsumeSuccess, nil
}

// opened lists the queues the engine reads.
func (m *member) opened() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for q, h := range m.queues {
		if h.open && !h.dropped {
			out = append(out, q.String())
		}
	}
	slices.Sort(out)
	return out
}

// opens waits until the engine reads n queues, the retry queue among them.
func (m *member) opens(n int) {
	m.f.Helper()
	m.f.eventually(fmt.Sprintf("%s: %d queues open", m.name, n), func() bool { return len(m.opened()) == n })
}

// doing makes a member's handler.
func doing(do func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error)) func(*member) {
	return func(m *member) { m.do = do }
}

func with(opts ...consumer.Option) func(*member) {
	return func(m *member) { m.opts = append(m.opts, opts...) }
}

// failing fails the first attempts of every message.
func failing(attempts int32) func(*member) {
	return doing(func(_ context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.ReconsumeTimes < attempts {
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	})
}

// blocker holds handlers back.
type blocker struct{ open chan struct{} }

func newBlocker(f *fixture) *blocker {
	b := &blocker{make(chan struct{})}
	f.blockers = append(f.blockers, b)
	return b
}

func (b *blocker) release() {
	select {
	case <-b.open:
	default:
		close(b.open)
	}
}

// handler waits for the release, or the end of its process.
func (b *blocker) handler() func(*member) {
	return doing(func(ctx context.Context, _ *primitive.MessageExt) (consumer.ConsumeResult, error) {
		select {
		case <-b.open:
		case <-ctx.Done():
		}
		return consumer.ConsumeSuccess, ctx.Err()
	})
}
