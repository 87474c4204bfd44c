package consume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// ordered makes a member of an ordered group whose queues pause for a moment after a failure.
func ordered(m *member) {
	m.opts = append(m.opts, consumer.WithConsumerOrder(true), consumer.WithSuspendCurrentQueueTimeMillis(20*time.Millisecond))
}

// line sends n messages of a value to one queue and returns their keys in order.
func (f *fixture) line(value string, n int, q remoting.Queue) []string {
	f.Helper()
	return f.send(value, n, q)
}

// firsts are the keys of a list in the order in which they were first started.
func (f *fixture) firsts(keys []string) (out []string) {
	for _, r := range f.journal.all() {
		if slices.Contains(keys, r.key) && !slices.Contains(out, r.key) {
			out = append(out, r.key)
		}
	}
	return out
}

// inLine asserts that each line was started in its order, one message after the other.
func (f *fixture) inLine(lines ...[]string) {
	f.Helper()
	for _, keys := range lines {
		require.Equal(f, keys, f.firsts(keys))
	}
}

// flaky fails some first attempts in each of the ways there are.
func flaky(_ context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
	switch n := int32(len(m.GetKeys())) + int32(m.GetKeys()[len(m.GetKeys())-1]); {
	case m.ReconsumeTimes >= n%4:
		return consumer.ConsumeSuccess, nil
	case m.ReconsumeTimes == 0:
		return consumer.SuspendCurrentQueueAMoment, nil
	case m.ReconsumeTimes == 1:
		return consumer.ConsumeRetryLater, errors.New("not now")
	}
	panic("handler")
}

// A queue's messages run one after the other. What fails is tried again where it is: nothing is skipped, sent back, or passed.
func TestOrdered(t *testing.T) {
	f := start(t, 3, nil)
	var busy [3]atomic.Int32
	f.join(ordered, doing(func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		octx, ok := primitive.GetOrderlyCtx(ctx)
		if !ok || octx.MQ.QueueId != m.Queue.QueueId {
			return consumer.ConsumeRetryLater, fmt.Errorf("context of another queue")
		}
		n := &busy[m.Queue.QueueId]
		if n.Add(1) > 1 {
			t.Errorf("two messages of queue %d at once", m.Queue.QueueId)
		}
		defer n.Add(-1)
		return flaky(ctx, m)
	}))
	lines := [][]string{f.line("beijing", 40, home(0)), f.line("beijing", 40, home(1)), f.line("shanghai", 40, home(2))}
	f.exact()
	f.inLine(lines...)
	require.Positive(t, f.journal.started()-f.journal.succeeded(), "handlers were to fail")
	for _, r := range f.records(broker) {
		require.NotEqual(t, filter.Open, r.Kind, "nothing goes to the retry topic")
	}
}

// One queue whose first message never succeeds keeps no other back, and does not spin.
func TestOrderedStuck(t *testing.T) {
	f := start(t, 2, nil)
	const pause = 50 * time.Millisecond
	began := time.Now()
	m := f.join(ordered, doing(func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.Queue.QueueId == 0 {
			octx, _ := primitive.GetOrderlyCtx(ctx)
			octx.SuspendCurrentQueueTimeMillis = int(pause / time.Millisecond)
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		return consumer.ConsumeSuccess, nil
	}))
	stuck := f.line("beijing", 5, home(0))
	f.line("beijing", 50, home(1))
	f.eventually("the other queue", func() bool { return f.committed(home(1)) == 50 })
	f.eventually("tried on", func() bool { return m.Stats().Failed >= 5 })
	require.LessOrEqual(t, m.Stats().Failed, int64(time.Since(began)/pause)+1)
	require.Equal(t, stuck[:1], f.firsts(stuck))
	require.LessOrEqual(t, f.committed(home(0)), int64(0))
	m.leave() // does not wait for what cannot end
	next := f.join(ordered)
	f.exact()
	require.Equal(t, stuck, f.firsts(stuck))
	require.Equal(t, 5, f.journal.by(next.name))
}

// With a limit of attempts the message goes to the dead-letter topic, and the queue goes on.
func TestOrderedMaxAttempts(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join(ordered, with(consumer.WithMaxReconsumeTimes(2)), doing(func(_ context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.GetKeys() == "beijing-2" {
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		return consumer.ConsumeSuccess, nil
	}))
	keys := f.line("beijing", 4, home(0))
	f.eventually("all acknowledged", func() bool { return f.acknowledged(topic) && f.committed(home(0)) == 4 })
	require.Equal(t, keys, f.firsts(keys))
	require.Len(t, f.journal.of("beijing-2"), 3)
	require.EqualValues(t, 1, m.Stats().DeadLettered)
	require.Len(t, f.stored(deadLetters()), 1)
}

// Members come and go while messages flow: order holds, nothing is run twice, and no queue waits for a lock to expire.
func TestOrderedQueuesMove(t *testing.T) {
	f := start(t, 4, nil)
	var lines [4][]string
	send := func() {
		for i := range lines {
			lines[i] = append(lines[i], f.line("beijing", 15, home(i))...)
		}
	}
	a := f.join(ordered, doing(flaky))
	send()
	f.eventually("under way", func() bool { return f.journal.succeeded() > 10 })
	b := f.join(ordered, doing(flaky))
	send()
	f.eventually("both work", func() bool { return f.journal.by(b.name) > 10 })
	c := f.join(ordered, doing(flaky))
	send()
	a.leave()
	f.eventually("the third works", func() bool { return f.journal.by(c.name) > 10 })
	b.leave()
	send()
	f.exact()
	f.inLine(lines[:]...)

}

// A route comes to this unit: what its owner has left is processed before what was pulled later, in home and replica queues.
func TestOrderedTakeOver(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	m := f.join(both, ordered, doing(flaky))
	homes, copies := f.line("guangzhou", 30, home(0)), copied(f, replica, "guangzhou", 0, 30)
	f.eventually("all skipped", func() bool { return m.Stats().Skipped == 60 && f.acknowledged(topic, replicaTopic) })
	in := moves("task-2", "guangzhou", other, other, unit, 1)
	f.fence(in)
	f.settled(m)
	rs := handOver(f, in, "hash", map[msha.OriginQueue]filter.Offsets{origin(home(0)): filter.From(4), foreign(): filter.From(7)})
	f.write(factLog(), rs...)
	f.commitMove(in, "hash")
	homes, copies = append(homes[4:], f.line("guangzhou", 20, home(0))...), append(copies[7:], copied(f, replica, "guangzhou", 30, 20)...)
	want := slices.Concat(homes, copies)
	f.eventually("remaining processed", func() bool { return f.journal.succeeded() == len(want) && f.acknowledged(topic, replicaTopic) })
	require.Empty(t, f.journal.wrong(want))
	f.inLine(homes, copies)
}

// A route is fenced while its message waits for another attempt: the queue lets it go at once, and has it again after the switch was
// given up.
func TestOrderedFencedWhileSuspended(t *testing.T) {
	f := start(t, 1, nil)
	var works atomic.Bool
	m := f.join(ordered, doing(func(_ context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if value := m.GetProperty("MSHA_ROUTE"); value == "beijing" && !works.Load() {
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		return consumer.ConsumeSuccess, nil
	}))
	first := f.line("beijing", 5, home(0))
	others := f.line("shanghai", 5, home(0))
	f.eventually("the first one fails", func() bool { return m.Stats().Failed > 1 })
	f.fence(away)
	f.settled(m)
	f.eventually("the other route goes on", func() bool { return f.journal.succeeded() == 5 })
	works.Store(true)
	f.reopen(away)
	first = append(first, f.line("beijing", 5, home(0))...)
	f.exact()
	f.inLine(first, others)
}
