package e2e

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/consume"
	"github.com/go-msha/msha/embedmq"
)

// resets: an operator resets the group's offsets while messages flow and handlers fail. Back to the beginning, nothing is processed again. To
// the end, over a backlog: what was skipped is counted and stays skipped, wherever the route goes; all the rest is processed once.
func resets(t *testing.T, clusters backend, opts ...consumer.Option) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	var gate sync.RWMutex // of all handlers in unit-1
	blocked := func(m *member) {
		m.opts = append(opts, consumer.WithPullThresholdForQueue(8), consumer.WithPullBatchSize(8))
		fail := m.fail
		m.fail = func(key string, attempt int) bool {
			gate.RLock()
			defer gate.RUnlock()
			return fail(key, attempt)
		}
	}
	members := map[string][]*member{}
	for range 2 {
		members["unit-1"] = append(members["unit-1"], w.join("unit-1", failing(5), blocked))
		members["unit-2"] = append(members["unit-2"], w.join("unit-2", failing(5), func(m *member) { m.opts = opts }))
	}
	send := map[string]func(string, int){}
	for _, unit := range w.names {
		send[unit] = w.produce(unit)
		send[unit]("beijing", 20)
		send[unit]("guangzhou", 20)
	}
	w.eventually("committed", func() bool { return w.resettable("unit-1") && w.resettable("unit-2") })

	var stops []func()
	for _, unit := range w.names {
		stops = append(stops, w.steadily(unit, 200, "beijing", "guangzhou"))
	}
	for i, unit := range w.names {
		other := w.names[1-i]
		w.reset(unit, w.topic, 0)
		w.reset(unit, msha.ReplicaTopic(w.topic, other), 0)
		w.eventually("reported", func() bool { return stats(members[unit]...).ResetBack == 8 })
	}
	at := w.journal.verdict().Processed
	w.eventually("load goes on", func() bool { return w.journal.verdict().Processed > at+200 })
	for _, stop := range stops {
		stop()
	}
	w.exact(w.settled())
	require.Zero(t, stats(members["unit-1"]...).ResetSkipped+stats(members["unit-2"]...).ResetSkipped)

	gate.Lock()
	send["unit-1"]("beijing", 300)
	send["unit-2"]("beijing", 300) // copied
	w.copied()
	w.reset("unit-1", w.topic, -1)
	w.reset("unit-1", msha.ReplicaTopic(w.topic, "unit-2"), -1)
	gate.Unlock()
	w.skipped(t, 600, func() int { return int(stats(members["unit-1"]...).ResetSkipped) })
	skipped := stats(members["unit-1"]...).ResetSkipped
	before := w.journal.verdict()
	w.Logf("%d skipped, %s", skipped, before)

	still := func() {
		w.Helper()
		v := w.skipped(t, 600, func() int { return int(skipped) })
		require.Equal(t, before.missing, v.missing)
	}
	w.move("values=beijing&to=unit-2")
	for _, unit := range w.names {
		send[unit]("beijing", 50)
	}
	still()
	w.move("values=beijing&to=unit-1")
	for _, unit := range w.names {
		send[unit]("beijing", 50)
	}
	still()

	// Nobody runs in unit-1: offsets that somebody else commits.
	gone := stats(members["unit-1"]...)
	for _, m := range members["unit-1"] {
		m.leave()
	}
	send["unit-1"]("beijing", 100)
	w.copied()
	w.reset("unit-1", w.topic, -1)
	members["unit-1"] = append(members["unit-1"], w.join("unit-1", blocked), w.join("unit-1", blocked))
	send["unit-1"]("beijing", 20)
	v := w.skipped(t, 700, func() int { return int(stats(members["unit-1"]...).ResetSkipped) })
	require.Equal(t, int(skipped)+100, v.Lost, "all of the hundred")
	w.move("values=beijing&to=unit-2")
	w.move("values=beijing&to=unit-1")
	w.quiet()
	v = w.skipped(t, 700, func() int { return int(skipped) + 100 })
	require.Zero(t, stats(members["unit-2"]...).ResetSkipped)
	require.Equal(t, gone.Expired, stats(members["unit-1"]...).Expired)
	w.Log(v)
}

// stats are those of several consumers together.
func stats(members ...*member) (sum consume.Stats) {
	for _, m := range members {
		s := m.consumer.(interface{ Stats() consume.Stats }).Stats()
		sum.ResetSkipped += s.ResetSkipped
		sum.ResetBack += s.ResetBack
		sum.Expired += s.Expired
	}
	return sum
}

// skipped waits until nothing is missing but what is said to have been skipped, of so many at most, and checks that all the rest was processed
// once.
func (w *world) skipped(t *testing.T, most int, reported func() int) verdict {
	w.Helper()
	w.eventually("everything else processed", func() bool { n := reported(); return n > 0 && w.journal.verdict().Lost == n })
	v := w.journal.verdict()
	require.Equal(t, reported(), v.Lost, v)
	require.LessOrEqual(t, v.Lost, most, v)
	require.Zero(t, v.Repeated, v)
	require.Empty(t, v.Twice, v)
	require.Zero(t, v.Foreign, v)
	return v
}

// reset lets the group go on elsewhere in all queues of a topic: in the home topic by mqadmin, if there is one; as it does otherwise. Where
// brokers can only tell consumers and nobody is there, it commits.
func (w *world) reset(unit, topic string, timestamp int64) {
	w.Helper()
	w.operator = true
	if s, ok := w.sites[unit].(interface {
		resetOffsets(ctx context.Context, group, topic string, timestamp int64) error
	}); ok && topic == w.topic {
		require.NoError(w, s.resetOffsets(w.ctx, w.group, topic, timestamp))
		return
	}
	cl, done := w.cluster(unit)
	defer done()
	brokers, err := cl.Brokers(w.ctx)
	require.NoError(w, err)
	for _, addr := range brokers {
		_, err := cl.ResetOffsets(w.ctx, addr, w.group, topic, timestamp, true)
		if !errors.Is(err, msha.ErrNotFound) {
			require.NoError(w, err)
			continue
		}
		queues, err := cl.Queues(w.ctx, topic, false)
		require.NoError(w, err)
		for _, q := range queues {
			end, err := cl.MaxOffset(w.ctx, q)
			require.NoError(w, err)
			require.NoError(w, cl.Commit(w.ctx, w.group, q, end))
		}
	}
}

// resettable tells whether the group has committed an offset in every queue of a unit: RocketMQ 4 resets nothing before.
func (w *world) resettable(unit string) bool {
	w.Helper()
	cl, done := w.cluster(unit)
	defer done()
	for _, topic := range []string{w.topic, msha.ReplicaTopic(w.topic, w.other(unit))} {
		queues, err := cl.Queues(w.ctx, topic, false)
		require.NoError(w, err)
		for _, q := range queues {
			if off, err := cl.CommittedOffset(w.ctx, w.group, q); err != nil || off == 0 {
				return false
			}
		}
	}
	return true
}

func (w *world) other(unit string) string {
	for _, name := range w.names {
		if name != unit {
			return name
		}
	}
	return ""
}

// onEmbedded4 are clusters whose brokers reset offsets as RocketMQ 4 does.
func onEmbedded4(t *testing.T, names ...string) map[string]site {
	return embeddedWith(t, embedmq.Options{ClientResets: true}, names...)
}

func TestResets(t *testing.T)          { t.Parallel(); resets(t, onEmbedded) }
func TestResetsRocketMQ4(t *testing.T) { t.Parallel(); resets(t, onEmbedded4) }
func TestResetsOrdered(t *testing.T) {
	t.Parallel()
	resets(t, onEmbedded, consumer.WithConsumerOrder(true))
}
