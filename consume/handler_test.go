package consume

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

func deadLetters() remoting.Queue { return remoting.Queue{Topic: "%DLQ%" + group, Broker: broker} }

// stored reads a queue to its end.
func (f *fixture) stored(q remoting.Queue) []*remoting.Message {
	f.Helper()
	var out []*remoting.Message
	for at := int64(0); ; {
		res, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "tests", Offset: at})
		if errors.Is(err, msha.ErrNotFound) {
			return nil
		}
		require.NoError(f, err)
		out = append(out, res.Messages...)
		if res.NextOffset <= at {
			return out
		}
		at = res.NextOffset
	}
}

// Each message of the unit's own routes runs once; those of others are acknowledged and left alone.
func TestOwnMessagesRunOnce(t *testing.T) {
	f := start(t, 2, nil)
	f.send("beijing", 20, home(0), home(1))
	f.skip("guangzhou", 20, home(0), home(1))
	f.send("", 5, home(0), home(1))
	m := f.join()
	f.send("shanghai", 20, home(0), home(1))
	f.skip("atlantis", 2, home(0))
	f.exact()
	s := m.Stats()
	require.EqualValues(t, 45, s.Started)
	require.EqualValues(t, 45, s.Succeeded)
	require.EqualValues(t, 22, s.Skipped)
	require.EqualValues(t, 2, s.Unrouted)
	require.True(t, f.out.says("no rule covers the routing value", "atlantis"))
	for _, r := range f.journal.all() {
		require.Equal(t, topic, r.topic)
		require.Equal(t, unit, r.set)
		require.EqualValues(t, 1, r.term)
		if r.value != "" {
			require.Contains(t, r.key, r.value)
		}
	}
}

// ConsumeRetryLater, an error and a panic are failures alike; the others go on, and each is processed once in the end.
func TestFailuresAreRetried(t *testing.T) {
	f := start(t, 2, nil)
	m := f.join(doing(func(_ context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.ReconsumeTimes < 2 {
			switch m.QueueOffset % 4 {
			case 0:
				return consumer.ConsumeRetryLater, nil
			case 1:
				return consumer.ConsumeSuccess, errors.New("no carrier")
			case 2:
				panic("no carrier at all")
			}
		}
		return consumer.ConsumeSuccess, nil
	}))
	f.send("beijing", 40, home(0), home(1))
	f.exact()
	require.True(t, f.out.says("handler panicked", "no carrier at all"))
	s := m.Stats()
	require.EqualValues(t, 40, s.Succeeded)
	require.Positive(t, s.Failed)
	require.Equal(t, s.Started, s.Succeeded+s.Failed)
	for _, r := range f.journal.all() {
		require.Equal(t, topic, r.topic, "a retry is presented under the home topic's name")
		require.Equal(t, "beijing", r.value)
		require.EqualValues(t, 1, r.term)
	}
}

// The messages of a batch share their route, which is in the handler's context; its result concerns them and no others.
func TestBatches(t *testing.T) {
	f := start(t, 1, nil)
	for range 4 {
		f.send("beijing", 5, home(0))
		f.send("shanghai", 3, home(0))
		f.skip("guangzhou", 1, home(0))
	}
	var mu sync.Mutex
	failed := map[string]bool{}
	m := f.member(with(consumer.WithConsumeMessageBatchMaxSize(4), consumer.WithConsumeGoroutineNums(1)))
	require.NoError(t, m.Subscribe(topic, consumer.MessageSelector{}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, msg := range msgs {
			if msg.GetProperty(msha.PropertyRoute) != msgs[0].GetProperty(msha.PropertyRoute) {
				t.Errorf("a batch of two routes")
			}
		}
		if msgs[0].ReconsumeTimes == 0 && len(msgs) == 4 { // whole batches fail once
			for _, msg := range msgs {
				failed[msg.GetKeys()] = true
			}
			m.do = func(context.Context, *primitive.MessageExt) (consumer.ConsumeResult, error) {
				return consumer.ConsumeRetryLater, nil
			}
		} else {
			m.do = nil
		}
		return m.handle(ctx, msgs...)
	}))
	require.NoError(t, m.Start())
	f.exact()
	require.Positive(t, f.journal.count(func(r run) bool { return r.together > 1 }))
	require.Len(t, failed, 16, "four batches of four")
	for _, key := range f.keys() {
		want := 1
		if failed[key] {
			want = 2
		}
		require.Len(t, f.journal.of(key), want, key)
	}
	require.EqualValues(t, len(f.keys()), m.Stats().Succeeded)
}

// A handler chooses the delay of its message's retry.
func TestHandlerChoosesDelay(t *testing.T) {
	levels := slices.Repeat([]time.Duration{time.Hour}, 18)
	levels[6] = 20 * time.Millisecond
	f := start(t, 1, &embedmq.Options{DelayLevels: levels})
	f.join(doing(func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.ReconsumeTimes == 0 {
			c, ok := primitive.GetConcurrentlyCtx(ctx)
			if !ok || c.MQ.QueueId != 0 || c.MQ.Topic != topic {
				t.Errorf("context %v", c)
			}
			c.DelayLevelWhenNextConsume = 7
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	}))
	f.send("beijing", 5, home(0))
	f.exact()
}

// -1 gives a message up at once.
func TestHandlerChoosesDeadLetter(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join(doing(func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.GetKeys() == "poison" {
			c, _ := primitive.GetConcurrentlyCtx(ctx)
			c.DelayLevelWhenNextConsume = -1
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	}))
	f.put(home(0), message("poison", "beijing"))
	keys := f.send("beijing", 3, home(0))
	f.eventually("dead letter", func() bool { return len(f.stored(deadLetters())) == 1 })
	f.eventually("acknowledged", func() bool { return f.acknowledged(topic) })
	require.Len(t, f.journal.of("poison"), 1)
	require.Equal(t, "poison", string(f.stored(deadLetters())[0].Body))
	require.Empty(t, f.journal.wrong(append(keys, "poison"))[1:], "the others")
	require.EqualValues(t, 1, m.Stats().DeadLettered)
	require.EqualValues(t, 3, m.Stats().Succeeded)
}

// After its last attempt a message is in the dead-letter topic as it was, and done.
func TestMaxAttempts(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join(with(consumer.WithMaxReconsumeTimes(2)), failing(100))
	msg := message("poison", "beijing")
	msg.Body, msg.Flag = []byte{0, 1, 2, 255}, 7
	msg.Properties["mine"], msg.Properties["TAGS"], msg.Properties["UNIQ_KEY"] = "ü", "tag", "unique"
	f.put(home(0), msg)
	f.eventually("dead letter", func() bool { return len(f.stored(deadLetters())) == 1 })
	f.eventually("acknowledged", func() bool { return f.acknowledged(topic) })
	var attempts []int32
	for _, r := range f.journal.of("poison") {
		attempts = append(attempts, r.attempt)
	}
	require.Equal(t, []int32{0, 1, 2}, attempts)
	dead := f.stored(deadLetters())[0]
	require.Equal(t, msg.Body, dead.Body)
	require.EqualValues(t, 7, dead.Flag)
	for name, value := range msg.Properties {
		require.Equal(t, value, dead.Properties[name], name)
	}
	require.Equal(t, topic, dead.Properties["RETRY_TOPIC"])
	require.NotContains(t, dead.Properties, "DELAY")
	require.Equal(t, Stats{Started: 3, Failed: 3, DeadLettered: 1}, m.Stats())
	require.True(t, f.facts().Done(filter.Key{Set: unit, Term: 1}, origin(home(0))).Contains(0))

	m.leave()
	again := f.join()
	again.opens(2)
	f.send("beijing", 1, home(0))
	f.eventually("the next one processed", func() bool { return f.journal.succeeded() == 1 })
	require.Len(t, f.journal.of("poison"), 3, "never again")
}

// Brokers refuse an empty body: the retry copy carries one byte that nobody sees.
func TestEmptyBody(t *testing.T) {
	f := start(t, 1, nil)
	var mu sync.Mutex
	var bodies []string
	f.join(with(consumer.WithMaxReconsumeTimes(2)), doing(func(_ context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, string(m.Body))
		if m.GetKeys() == "fine" && m.ReconsumeTimes == 1 {
			return consumer.ConsumeSuccess, nil
		}
		return consumer.ConsumeRetryLater, nil
	}))
	var batch []*remoting.Message
	for _, key := range []string{"fine", "poison"} {
		msg := message(key, "beijing")
		msg.Body = nil
		batch = append(batch, msg)
	}
	_, err := f.mq.SendBatch(f.ctx, home(0), "producers", batch) // alone, brokers refuse them too
	require.NoError(t, err)
	f.eventually("dead letter", func() bool { return len(f.stored(deadLetters())) == 1 })
	f.eventually("acknowledged", func() bool { return f.acknowledged(topic) })
	dead := f.stored(deadLetters())[0]
	require.Equal(t, "poison", dead.Properties["KEYS"])
	require.Empty(t, dead.Body)
	require.NotContains(t, dead.Properties, msha.PropertyEmpty)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"", "", "", "", ""}, bodies)
}

// A retry copy from before the group was managed has no facts; it is retried and dead-lettered as with client-go.
func TestLegacyRetryCopies(t *testing.T) {
	f := start(t, 1, nil)
	require.NoError(t, f.mq.CreateGroup(f.ctx, f.BrokerAddr(broker), remoting.GroupConfig{Name: group}))
	retry := remoting.Queue{Topic: "%RETRY%" + group, Broker: broker}
	for _, key := range []string{"fine", "poison"} {
		msg := message(key, "guangzhou")
		msg.Properties["RETRY_TOPIC"], msg.ReconsumeTimes = topic, 1
		f.put(retry, msg)
	}
	m := f.join(with(consumer.WithMaxReconsumeTimes(3)), doing(func(_ context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.GetKeys() == "fine" && m.ReconsumeTimes == 2 {
			return consumer.ConsumeSuccess, nil
		}
		return consumer.ConsumeRetryLater, nil
	}))
	f.expect("fine")
	f.eventually("dead letter", func() bool { return len(f.stored(deadLetters())) == 1 })
	f.eventually("acknowledged", func() bool { return f.acknowledged(topic) })
	require.Len(t, f.journal.of("fine"), 2, "whoever owns its value")
	require.Len(t, f.journal.of("poison"), 3)
	require.Equal(t, "poison", f.stored(deadLetters())[0].Properties["KEYS"])
	require.EqualValues(t, 5, m.Stats().Legacy)
	require.EqualValues(t, 1, m.Stats().DeadLettered)
	for _, r := range f.journal.all() {
		require.Empty(t, r.set)
	}
}
