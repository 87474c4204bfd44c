package consume

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
)

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
	sql     string // instead
	do      func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error)
	enters  atomic.Int64
	freshes atomic.Int64
	gone    bool
}

// join starts one more engine that subscribes the topic.
func (f *fixture) join(change ...func(*member)) *member {
	f.Helper()
	m := f.member(change...)
	require.NoError(f, m.Subscribe(topic, m.selector(), m.handle))
	require.NoError(f, m.Start())
	return m
}

func (m *member) selector() consumer.MessageSelector {
	if m.sql != "" {
		return bySQL(m.sql)
	}
	return consumer.MessageSelector{Expression: m.tags}
}

// member makes an engine that is not started yet.
func (f *fixture) member(change ...func(*member)) *member {
	f.Helper()
	m := &member{f: f, name: fmt.Sprintf("member-%d", f.serial.Add(1)), lim: defaultLimits()}
	m.client = remoting.NewClient(&remoting.Options{Logger: slog.New(slog.DiscardHandler), OnRequest: func(_ string, req *remoting.Command) *remoting.Command {
		if m.Engine == nil {
			return nil
		}
		return m.OnRequest(req)
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.f.ctx), time.Minute)
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
	return doing(func(ctx context.Context, _ *primitive.MessageExt) (consumer.ConsumeResult, error) { return b.wait(ctx) })
}

func (b *blocker) wait(ctx context.Context) (consumer.ConsumeResult, error) {
	select {
	case <-b.open:
	case <-ctx.Done():
	}
	return consumer.ConsumeSuccess, ctx.Err()
}
