package consume

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	operator bool // somebody moves the group's offsets; otherwise no engine may believe that

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
	f.ctx, cancel = context.WithTimeout(t.Context(), 3*time.Minute)
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
		if !f.operator && f.out.count("offset reset") > 0 {
			t.Error("an engine took its group's own offsets for somebody else's")
		}
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
	for _, m := range f.stored(remoting.Queue{Topic: msha.ProgressTopic, Broker: broker}) {
		rs, err := filter.DecodeLog(m.Body, m.QueueOffset)
		require.NoError(f, err)
		out = append(out, rs...)
	}
	return out
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
