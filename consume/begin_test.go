package consume

import (
	"slices"
	"sync"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// keepAway locks queues in another client's name, so that nobody opens them before the result is called.
func (f *fixture) keepAway(queues ...remoting.Queue) (letIn func()) {
	f.Helper()
	const stranger, locks = "stranger", "MSHA_LOCK_" + group
	at := func(q remoting.Queue) string { return f.BrokerAddr(q.Broker) }
	for _, q := range queues {
		got, err := f.mq.Lock(f.ctx, at(q), locks, stranger, []remoting.Queue{q})
		require.NoError(f, err)
		require.Len(f, got, 1)
	}
	return func() {
		for _, q := range queues {
			require.NoError(f, f.mq.Unlock(f.ctx, at(q), locks, stranger, []remoting.Queue{q}))
		}
	}
}

// queuesAt changes how many queues a topic has at one broker.
func (f *fixture) queuesAt(name, broker string, n int) {
	f.Helper()
	require.NoError(f, f.mq.CreateTopic(f.ctx, f.BrokerAddr(broker), remoting.TopicConfig{Name: name, Read: n, Write: n}))
}

// begins waits until the log of a broker says how many queues a topic had there.
func (f *fixture) begins(broker, topic string, queues int) {
	f.Helper()
	f.eventually("the group begins with "+topic, func() bool {
		n, ok := f.facts().Begun(unit, broker, topic)
		return ok && n == queues
	})
}

// A queue is added, and producers that have found it store messages before this group does. Its end is not where the group begins.
func TestQueueAddedIsReadFromItsStart(t *testing.T) {
	for name, where := range map[string]consumer.ConsumeFromWhere{"last": consumer.ConsumeFromLastOffset, "timestamp": consumer.ConsumeFromTimestamp} {
		t.Run(name, func(t *testing.T) {
			f := start(t, 1, nil)
			f.skip("beijing", 3, home(0))
			m := f.join(from(where), with(consumer.WithConsumeTimestamp("20990101000000")))
			m.opens(2)
			letIn := f.keepAway(home(1), home(2))
			f.queuesAt(topic, broker, 3)
			f.send("beijing", 8, home(1), home(2))
			letIn()
			m.opens(4)
			if where == consumer.ConsumeFromLastOffset {
				f.send("beijing", 6, home(0), home(1), home(2))
			}
			f.exact()
		})
	}
}

// The same while nobody of the group runs.
func TestQueueAddedWhileNobodyRuns(t *testing.T) {
	f := start(t, 1, nil)
	f.skip("beijing", 3, home(0))
	m := f.join(from(consumer.ConsumeFromLastOffset))
	m.opens(2)
	m.leave()
	f.queuesAt(topic, broker, 2)
	f.send("beijing", 8, home(0), home(1))
	f.join(from(consumer.ConsumeFromLastOffset))
	f.exact()
	require.Equal(t, map[int][]int64{0: {3}, 1: {0}}, f.baselines())
}

// A subscribed topic is created by its first message; later it gets queues at another broker.
func TestTopicCreatedLate(t *testing.T) {
	const second = "broker-b"
	f := start(t, 1, &embedmq.Options{Brokers: []string{broker, second}})
	mail := remoting.Queue{Topic: "Mail", Broker: broker}
	m := f.member(from(consumer.ConsumeFromLastOffset))
	require.NoError(t, m.Subscribe(topic, consumer.MessageSelector{}, m.handle))
	require.NoError(t, m.Subscribe("Mail", consumer.MessageSelector{}, m.handle))
	letIn := f.keepAway(mail, remoting.Queue{Topic: "Mail", Broker: second})
	require.NoError(t, m.Start())
	f.begins(broker, "Mail", 0)
	f.begins(second, "Mail", 0)
	f.queuesAt("Mail", broker, 1)
	f.send("beijing", 4, mail)
	f.queuesAt("Mail", second, 1)
	f.send("beijing", 4, remoting.Queue{Topic: "Mail", Broker: second})
	letIn()
	f.eventually("processed", func() bool { return f.journal.succeeded() >= 8 && f.acknowledged(topic, "Mail") })
	require.Empty(t, f.journal.wrong(f.keys()))
}

// A topic gets queues at a broker that had none of it: all of them were added.
func TestBrokerAddedToATopic(t *testing.T) {
	const second = "broker-b"
	f := start(t, 1, &embedmq.Options{Brokers: []string{broker, second}})
	mail, there := remoting.Queue{Topic: "Mail", Broker: broker}, remoting.Queue{Topic: "Mail", Broker: second}
	f.queuesAt("Mail", broker, 1)
	f.skip("beijing", 3, mail)
	m := f.member(from(consumer.ConsumeFromLastOffset))
	require.NoError(t, m.Subscribe("Mail", consumer.MessageSelector{}, m.handle))
	require.NoError(t, m.Start())
	f.begins(second, "Mail", 0)
	letIn := f.keepAway(there)
	f.queuesAt("Mail", second, 1)
	f.send("beijing", 4, there)
	letIn()
	f.eventually("processed", func() bool { return f.journal.succeeded() >= 4 && f.acknowledged("Mail") })
	f.send("beijing", 4, mail, there)
	f.eventually("processed", func() bool { return f.journal.succeeded() >= 8 && f.acknowledged("Mail") })
	require.Empty(t, f.journal.wrong(f.keys()))
}

// Processes that start at the same time begin at one place, and none has another one's queues read from their start.
func TestMembersBeginTogether(t *testing.T) {
	const second = "broker-b"
	f := start(t, 2, &embedmq.Options{Brokers: []string{broker, second}})
	all := []remoting.Queue{home(0), home(1), {Topic: topic, Broker: second}, {Topic: topic, Broker: second, ID: 1}}
	f.skip("beijing", 12, all...)
	var members []*member
	var wg sync.WaitGroup
	for range 3 {
		m := f.member(from(consumer.ConsumeFromLastOffset))
		require.NoError(t, m.Subscribe(topic, consumer.MessageSelector{}, m.handle))
		members = append(members, m)
	}
	for _, m := range members {
		wg.Go(func() { m.Start() }) //nolint:errcheck // seen below
	}
	wg.Wait()
	f.eventually("all queues open", func() bool {
		n := 0
		for _, m := range members {
			for _, q := range m.opened() {
				if slices.ContainsFunc(all, func(want remoting.Queue) bool { return want.String() == q }) {
					n++
				}
			}
		}
		return n == len(all)
	})
	f.send("beijing", 20, all...)
	f.exact()
	facts := f.facts()
	for _, q := range all {
		base, ok := facts.Baseline(origin(q))
		require.True(t, ok)
		require.EqualValues(t, 3, base, q.String())
	}
}

// A process dies after it has said in one broker's log where the group begins: the queues of the other one were there too.
func TestDiesWhileItBegins(t *testing.T) {
	const second = "broker-b"
	f := start(t, 1, &embedmq.Options{Brokers: []string{broker, second}, LockExpiry: lockExpiry})
	there := remoting.Queue{Topic: topic, Broker: second}
	f.skip("beijing", 6, home(0), there)
	fault := f.Inject(embedmq.Fault{Broker: second, Code: remoting.ReqSendMessageV2, Match: appends(filter.Baseline), Drop: true})
	m := f.join(brief, from(consumer.ConsumeFromLastOffset))
	f.begins(broker, topic, 1)
	require.NoError(t, fault.Wait(f.ctx))
	m.kill()
	fault.Remove()
	again := f.join(brief, from(consumer.ConsumeFromLastOffset))
	again.opens(4)
	f.send("beijing", 6, home(0), there)
	f.exact()
}
