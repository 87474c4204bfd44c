package consume

import (
	"context"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

func from(w consumer.ConsumeFromWhere) func(*member) { return with(consumer.WithConsumeFromWhere(w)) }

// baselines are the records of where the group starts, by queue id, in the order of the log.
func (f *fixture) baselines() map[int][]int64 {
	out := map[int][]int64{}
	for _, r := range f.records(broker) {
		if r.Kind == filter.Baseline && r.Queue.Topic != "" {
			out[r.Queue.Queue] = append(out[r.Queue.Queue], r.Offset)
		}
	}
	return out
}

func TestNewGroupFromFirst(t *testing.T) {
	f := start(t, 1, nil)
	f.send("beijing", 5, home(0))
	f.join(from(consumer.ConsumeFromFirstOffset))
	f.exact()
	require.Equal(t, map[int][]int64{0: {0}}, f.baselines())
}

func TestNewGroupFromLast(t *testing.T) {
	f := start(t, 1, nil)
	f.skip("beijing", 5, home(0))
	m := f.join(from(consumer.ConsumeFromLastOffset))
	m.opens(2)
	f.send("beijing", 5, home(0))
	f.exact()
	require.Equal(t, map[int][]int64{0: {5}}, f.baselines())
}

func TestNewGroupFromTimestamp(t *testing.T) {
	clock := embedmq.NewManualClock(time.Now().Add(-time.Hour))
	f := start(t, 1, &embedmq.Options{Clock: clock})
	f.skip("beijing", 5, home(0))
	clock.Advance(20 * time.Minute)
	at := clock.Now()
	clock.Advance(20 * time.Minute)
	f.send("beijing", 5, home(0))
	f.join(from(consumer.ConsumeFromTimestamp), with(consumer.WithConsumeTimestamp(at.Format("20060102150405"))))
	f.exact()
	require.Equal(t, map[int][]int64{0: {5}}, f.baselines())
}

// A group that client-go ran before goes on where it was.
func TestCommittedOffsetHonoured(t *testing.T) {
	f := start(t, 1, nil)
	f.skip("beijing", 3, home(0))
	f.send("beijing", 3, home(0))
	f.commit(home(0), 3)
	f.join(from(consumer.ConsumeFromLastOffset))
	f.exact()
	require.Equal(t, map[int][]int64{0: {3}}, f.baselines())
}

func (f *fixture) commit(q remoting.Queue, offset int64) {
	f.Helper()
	f.operator = true
	require.NoError(f, f.mq.CreateGroup(f.ctx, f.BrokerAddr(q.Broker), remoting.GroupConfig{Name: group}))
	require.NoError(f, f.mq.Commit(f.ctx, group, q, offset))
}

// The Baseline is written once per queue; without a committed offset it says where the group is, whatever the options say.
func TestBaselineWrittenOnce(t *testing.T) {
	f := start(t, 2, nil)
	f.skip("beijing", 2, home(1))
	f.send("beijing", 1, home(1))
	f.write(factLog(), filter.Record{Kind: filter.Baseline, Group: group, Queue: origin(home(1)), Offset: 2})
	m := f.join(from(consumer.ConsumeFromFirstOffset))
	f.send("beijing", 3, home(0), home(1))
	f.exact()
	m.leave()
	again := f.join(from(consumer.ConsumeFromLastOffset))
	again.opens(3)
	f.send("beijing", 3, home(0), home(1))
	f.exact()
	require.Equal(t, map[int][]int64{0: {0}, 1: {2}}, f.baselines())
}

// Messages that expired before the group came to them are reported; the rest is processed.
func TestCommittedBelowMinimum(t *testing.T) {
	f := start(t, 1, nil)
	f.skip("beijing", 5, home(0))
	f.send("beijing", 3, home(0))
	f.commit(home(0), 2)
	require.NoError(t, f.RaiseMinOffset(home(0), 5))
	m := f.join()
	f.exact()
	require.EqualValues(t, 3, m.Stats().Expired)
	require.True(t, f.out.says("expired", "from=2", "to=4", "retention"))
}

// The same for a group whose facts say what it had finished: only what was not counts.
func TestManagedGroupOverrunByRetention(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	f.send("beijing", 4, home(0))
	f.exact()
	m.leave()
	f.skip("beijing", 3, home(0))
	f.send("beijing", 2, home(0))
	require.NoError(t, f.RaiseMinOffset(home(0), 7))
	m = f.join()
	f.exact()
	require.EqualValues(t, 3, m.Stats().Expired, "offsets 4 to 6")
}

// While the engine is behind.
func TestExpiredWhileReading(t *testing.T) {
	f := start(t, 1, nil)
	gate := newBlocker(f)
	m := f.join(gate.handler(), with(consumer.WithPullThresholdForQueue(4), consumer.WithPullBatchSize(4)))
	f.send("beijing", 4, home(0))
	f.eventually("buffer full", func() bool { return f.journal.running() == 4 })
	f.skip("beijing", 5, home(0))
	f.send("beijing", 3, home(0))
	require.NoError(t, f.RaiseMinOffset(home(0), 9))
	gate.release()
	f.exact()
	require.EqualValues(t, 5, m.Stats().Expired)
}

// A committed offset beyond the end: the offsets are about to be used again, and what is stored under them would be taken for done. The
// queue is not opened until somebody has looked; the others go on.
func TestCommittedBeyondEnd(t *testing.T) {
	f := start(t, 2, nil)
	f.commit(home(0), 100)
	f.skip("beijing", 5, home(0))
	m := f.join()
	m.opens(2)
	f.send("beijing", 5, home(1))
	f.eventually("the other queue processed", func() bool { return f.journal.succeeded() == 5 })
	f.eventually("report", func() bool {
		return f.out.says("queue not opened", "SMS/broker-a/0", "committed offset 100", "ends at 5", "lost its tail or the topic was recreated", "raise it (msha.Raise)")
	})
	require.Empty(t, f.journal.wrong(f.keys()))
	require.Empty(t, f.baselines()[0])
	require.EqualValues(t, 100, f.committed(home(0)))

	f.commit(home(0), 5)
	m.opens(3)
	f.send("beijing", 5, home(0))
	f.exact()
}

// An operator's reset moves the position at the next opening; what is done is not repeated.
func TestOffsetResetBackwards(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	f.send("beijing", 10, home(0))
	f.exact()
	m.leave()
	f.commit(home(0), 2)
	m = f.join()
	f.send("beijing", 1, home(0))
	f.exact()
	require.EqualValues(t, 8, m.Stats().Skipped)
}

// A queue that is added while running is taken like the others.
func TestQueueAddedWhileRunning(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join(from(consumer.ConsumeFromFirstOffset))
	m.opens(2)
	require.NoError(t, f.mq.CreateTopic(context.Background(), f.BrokerAddr(broker), remoting.TopicConfig{Name: topic, Read: 3, Write: 3}))
	f.send("beijing", 9, home(0), home(1), home(2))
	f.exact()
	require.Len(t, m.opened(), 4, "and the retry queue")
}
