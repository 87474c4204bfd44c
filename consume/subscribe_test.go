package consume

import (
	"context"
	"fmt"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

func TestSubscribeAfterStart(t *testing.T) {
	f := start(t, 2, nil)
	f.topic("Mail", 2)
	m := f.join()
	m.opens(3)
	f.send("beijing", 5, home(0), remoting.Queue{Topic: "Mail", Broker: broker, ID: 1})
	require.NoError(t, m.Subscribe("Mail", consumer.MessageSelector{}, m.handle))
	m.opens(5)
	f.send("beijing", 5, home(0), remoting.Queue{Topic: "Mail", Broker: broker, ID: 1})
	f.exact()
	require.Positive(t, f.journal.count(func(r run) bool { return r.topic == "Mail" }))
}

// A topic that does not exist when it is subscribed is taken up once somebody has written to it.
func TestSubscribeBeforeTheTopicExists(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	require.NoError(t, m.Subscribe("Mail", consumer.MessageSelector{}, m.handle))
	m.opens(2)
	f.send("beijing", 3, remoting.Queue{Topic: "Mail", Broker: broker})
	f.exact()
}

// What waited when a topic was unsubscribed is not marked done: it arrives when the topic is subscribed again.
func TestUnsubscribe(t *testing.T) {
	f := start(t, 1, nil)
	gate := newBlocker(f)
	m := f.join(gate.handler(), with(consumer.WithConsumeGoroutineNums(3)))
	f.send("beijing", 20, home(0))
	f.eventually("busy", func() bool { return f.journal.running() == 3 })
	require.NoError(t, m.Unsubscribe(topic))
	require.Equal(t, 3, f.journal.started(), "running ones go on")
	gate.release()
	f.eventually("given back", func() bool { return len(m.opened()) == 0 && f.committed(home(0)) == 3 })
	require.Equal(t, 3, f.journal.succeeded())
	require.Equal(t, "[0,3)", f.facts().Done(filter.Key{Set: unit, Term: 1}, origin(home(0))).String())
	f.send("beijing", 5, home(0))
	require.NoError(t, m.Subscribe(topic, consumer.MessageSelector{}, m.handle))
	f.exact()
}

// A new handler takes over: running calls of the old one end first, nothing is repeated or skipped.
func TestSubscribeAgainReplacesTheHandler(t *testing.T) {
	f := start(t, 1, nil)
	gate := newBlocker(f)
	m := f.join(gate.handler(), with(consumer.WithConsumeGoroutineNums(2)))
	f.send("beijing", 10, home(0))
	f.eventually("busy", func() bool { return f.journal.running() == 2 })
	m.opens(2)
	again := &member{f: f, name: "second handler"}
	require.NoError(t, m.Subscribe(topic, consumer.MessageSelector{}, again.handle))
	f.eventually("the queue is given up", func() bool { return len(m.opened()) < 2 })
	gate.release()
	f.exact()
	require.Equal(t, 2, f.journal.by(m.name))
	require.Equal(t, 8, f.journal.by(again.name))
}

// Only the tags subscribed arrive, hash collisions excluded; the others are covered, so that nothing waits for them.
func TestSubscribeTags(t *testing.T) {
	f := start(t, 1, nil)
	tagged := func(tag string, n int) (keys []string) {
		for i := range n {
			m := message(fmt.Sprintf("%s-%d-%d", tag, i, f.serial.Add(1)), "beijing")
			m.Properties["TAGS"] = tag
			f.put(home(0), m)
			keys = append(keys, string(m.Body))
		}
		return keys
	}
	require.Equal(t, remoting.TagHash("Aa"), remoting.TagHash("BB"))
	tagged("other", 5)
	f.expect(tagged("Aa", 3)...)
	tagged("BB", 3)
	f.expect(tagged("urgent", 3)...)
	f.join(func(m *member) { m.tags = "Aa || urgent" }, failing(1))
	tagged("other", 5)
	f.expect(tagged("urgent", 1)...)
	f.exact()
	f.eventually("covered", func() bool {
		return f.facts().Done(filter.Key{Set: unit, Term: 1}, origin(home(0))).String() == "[0,20)"
	})
	require.Empty(t, f.journal.wrong(f.keys()))
}

// Retry copies of a topic that is not subscribed are acknowledged, however many there are: others come behind them. Their messages are read again once
// the topic is subscribed.
func TestRetryOfAnUnsubscribedTopic(t *testing.T) {
	f := start(t, 1, nil)
	mail := remoting.Queue{Topic: "Mail", Broker: broker}
	f.topic(mail.Topic, 1)
	m := f.join(failing(1), with(consumer.WithPullThresholdForQueue(4)))
	require.NoError(t, m.Subscribe("Mail", consumer.MessageSelector{}, m.handle))
	m.opens(3)
	f.send("beijing", 10, mail)
	f.eventually("failed", func() bool { return m.Stats().Failed == 10 && f.journal.started() >= 10 })
	m.Suspend()
	succeeded := f.journal.succeeded()
	require.NoError(t, m.Unsubscribe("Mail"))
	retry := remoting.Queue{Topic: retryTopic, Broker: broker}
	f.eventually("copies due", func() bool { return len(f.stored(retry)) == 10 })
	m.Resume()
	f.send("beijing", 5, home(0))
	f.eventually("the other topic's retries go on", func() bool {
		return f.journal.count(func(r run) bool { return r.topic == topic && r.ok }) == 5 && f.acknowledged(topic)
	})
	require.Equal(t, succeeded+5, f.journal.succeeded())
	require.EqualValues(t, 10-succeeded, m.Stats().Refused)
	require.True(t, f.out.says("topic that is not subscribed given back", "Mail"))
	m.leave()

	again := f.join(failing(1))
	require.NoError(t, again.Subscribe("Mail", consumer.MessageSelector{}, again.handle))
	f.eventually("all", func() bool { return f.journal.succeeded() >= 15 && f.acknowledged(topic, "Mail") })
	require.Empty(t, f.journal.wrong(f.keys()))
}

// The same of an ordered group, with copies from before it was ordered.
func TestRetryOfAnUnsubscribedTopicOfAnOrderedGroup(t *testing.T) {
	f := start(t, 1, nil)
	mail := remoting.Queue{Topic: "Mail", Broker: broker}
	f.topic(mail.Topic, 1)
	m := f.join(failing(1))
	require.NoError(t, m.Subscribe("Mail", consumer.MessageSelector{}, m.handle))
	m.opens(3)
	m.Suspend()
	f.send("beijing", 3, mail)
	f.eventually("read", func() bool { return m.GetOffsetDiffMap()["Mail"] == 3 })
	m.Resume()
	f.eventually("failed", func() bool { return m.Stats().Failed == 3 })
	m.leave()
	n := 3 - f.journal.succeeded()
	ordered := with(consumer.WithConsumerOrder(true))
	m = f.join(ordered)
	f.eventually("given back", func() bool { return m.Stats().Refused == int64(n) && f.acknowledged(topic) })
	require.NoError(t, m.Subscribe("Mail", consumer.MessageSelector{}, m.handle))
	f.eventually("all", func() bool { return f.journal.succeeded() >= 3 && f.acknowledged(topic, "Mail") })
	require.Empty(t, f.journal.wrong(f.keys()))
}

// Copies that nobody can run, or that are not of this library: none keeps the queue from going on, and those that are all that is left of a message
// come back.
func TestRetryCopiesThatCannotRun(t *testing.T) {
	f := start(t, 1, nil)
	f.topic("Mail", 1)
	require.NoError(t, f.mq.CreateGroup(f.ctx, f.BrokerAddr(broker), remoting.GroupConfig{Name: group}))
	retry := remoting.Queue{Topic: retryTopic, Broker: broker}
	for range 5 {
		f.put(retry, message("says nothing", "beijing"))
		legacy := message(fmt.Sprint("legacy-", f.serial.Add(1)), "beijing")
		legacy.Properties["RETRY_TOPIC"], legacy.ReconsumeTimes = "Mail", 2
		f.put(retry, legacy)
		f.expect(string(legacy.Body))
		past := message("of the past", "beijing")
		past.Properties["RETRY_TOPIC"], past.Properties[msha.PropertyRetry] = "Mail", "nobody-1"
		past.Properties[msha.PropertyOrigin] = msha.Origin{OriginQueue: origin(remoting.Queue{Topic: "Mail", Broker: broker}), Offset: 3}.Encode()
		f.put(retry, past)
	}
	m := f.join(failing(1), with(consumer.WithPullThresholdForQueue(4)))
	f.send("beijing", 5, home(0))
	f.eventually("retries go on", func() bool { return f.journal.succeeded() == 5 })
	require.Equal(t, 5, f.out.count("says no topic ignored"))
	require.NoError(t, m.Subscribe("Mail", consumer.MessageSelector{}, m.handle))
	f.eventually("all", func() bool { return f.journal.succeeded() >= 10 && f.acknowledged(topic, "Mail") })
	require.Empty(t, f.journal.wrong(f.keys()))
	for _, r := range f.journal.all() {
		if r.topic == "Mail" {
			require.EqualValues(t, 2, r.attempt, "to wait is no attempt")
		}
	}
}

// A retry copy that was read before the topic was unsubscribed must not run the handler any more.
func TestRetryReadBeforeUnsubscribe(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join(failing(1))
	f.send("beijing", 3, home(0))
	f.eventually("failed", func() bool { return m.Stats().Failed == 3 })
	m.Suspend()
	f.eventually("copies read", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		h := m.queues[remoting.Queue{Topic: retryTopic, Broker: broker}]
		return h != nil && h.next == 3
	})
	ran := f.journal.started()
	require.NoError(t, m.Unsubscribe(topic))
	f.topic("Mail", 1)
	require.NoError(t, m.Subscribe("Mail", consumer.MessageSelector{}, m.handle)) // keeps the retry queue
	m.Resume()
	f.send("beijing", 1, remoting.Queue{Topic: "Mail", Broker: broker})
	f.eventually("the other topic goes on", func() bool { return f.journal.count(func(r run) bool { return r.topic == "Mail" && r.ok }) == 1 })
	require.Equal(t, ran, f.journal.count(func(r run) bool { return r.topic == topic }))
	again := &member{f: f, name: "second handler"}
	require.NoError(t, m.Subscribe(topic, consumer.MessageSelector{}, again.handle))
	f.exact()
}

func TestSuspendResume(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	f.send("beijing", 3, home(0))
	f.exact()
	m.Suspend()
	f.send("beijing", 5, home(0))
	f.eventually("read", func() bool { return m.GetOffsetDiffMap()[topic] == 5 })
	require.Equal(t, 3, f.journal.started())
	m.Resume()
	f.exact()
	require.Equal(t, map[string]int64{topic: 0}, m.GetOffsetDiffMap())
}

// What is buffered, running or not yet pulled counts, over all queues of a topic, its replicas included.
func TestOffsetDiff(t *testing.T) {
	f := start(t, 2, nil)
	f.topic(replicaTopic, 1)
	gate := newBlocker(f)
	f.send("beijing", 14, home(0), home(1))
	copied(f, replica, "beijing", 0, 3)
	m := f.join(gate.handler(), both, with(consumer.WithPullThresholdForQueue(4), consumer.WithPullBatchSize(4)))
	f.eventually("counted", func() bool { return m.GetOffsetDiffMap()[topic] == 17 })
	gate.release()
	f.topic(copyOfLog.Topic, 1)
	f.foreignBaseline(0)
	f.eventually("nothing left", func() bool { return m.GetOffsetDiffMap()[topic] == 0 })
	require.Empty(t, f.journal.wrong(f.keys()))
}

// Messages a handler is given while it is suspended wait; those running finish.
func TestSuspendLetsRunningOnesFinish(t *testing.T) {
	f := start(t, 1, nil)
	gate := newBlocker(f)
	m := f.join(doing(func(ctx context.Context, _ *primitive.MessageExt) (consumer.ConsumeResult, error) {
		select {
		case <-gate.open:
		case <-ctx.Done():
		}
		return consumer.ConsumeSuccess, ctx.Err()
	}), with(consumer.WithConsumeGoroutineNums(2)))
	f.send("beijing", 6, home(0))
	f.eventually("busy", func() bool { return f.journal.running() == 2 })
	m.Suspend()
	gate.release()
	f.eventually("finished and acknowledged", func() bool { return f.committed(home(0)) == 2 })
	require.Equal(t, 2, f.journal.started())
	m.Resume()
	f.exact()
}
