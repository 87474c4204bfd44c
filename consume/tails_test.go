package consume

import (
	"context"
	"slices"
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

func soonSettled(m *member) { m.lim.settle = 300 * time.Millisecond }

// The broker loses copies that were pulled and not yet processed. Until the replicator has filled the queue again, they are not taken for filtered
// out.
func TestReplicaQueueLostWhatWaited(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	gate := newBlocker(f)
	m := f.join(both, soonSettled, with(consumer.WithConsumeGoroutineNums(2)), doing(func(ctx context.Context, msg *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if slices.Contains([]string{"unit-2-beijing-0", "unit-2-beijing-1", "unit-2-beijing-2"}, msg.GetKeys()) {
			return consumer.ConsumeSuccess, nil
		}
		return gate.wait(ctx)
	}))
	keys := copied(f, replica, "beijing", 0, 3)
	f.eventually("three are acknowledged", func() bool { return f.committed(replica) == 3 })
	keys = append(keys, copied(f, replica, "beijing", 3, 7)...)
	f.eventually("pulled, two at work", func() bool {
		return f.journal.running() == 2 && f.facts().Next(foreign()) == 10
	})
	f.restart(broker, embedmq.LoseTail(5, replicaTopic))
	f.eventually("given up", func() bool { return len(m.opened()) < 3 }) // because that was noticed, or since its lock was lost before
	gate.release()
	// One of those that waited may have begun before they were dropped.
	f.eventually("what is left is processed", func() bool { return f.journal.succeeded() >= 5 && len(m.opened()) == 3 })
	f.eventually("what is not there was looked for", func() bool { return f.out.says("re-scan", foreign().String(), ",10)") })
	f.eventually("and all is published", func() bool { return f.facts().Done(filter.Key{Set: unit, Term: 1}, foreign()).Len() >= 5 })
	copied(f, replica, "beijing", 5, 5)
	keys = append(keys, copied(f, replica, "beijing", 10, 2)...)
	f.eventually("all", func() bool { return f.journal.succeeded() >= 12 && f.acknowledged(replicaTopic) })
	require.Empty(t, f.journal.wrong(keys))
}

// The broker of a replica queue loses its tail while nobody holds the queue. The process that held it takes it again: what was copied anew has the
// same identities, and that it was stored anew does not matter.
func TestReplicaQueueLostItsTailBetweenTwoHolds(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	m := f.join(both, soonSettled)
	keys := copied(f, replica, "beijing", 0, 10)
	f.eventually("processed", func() bool { return f.journal.succeeded() == 10 && f.acknowledged(replicaTopic) })
	require.NoError(t, m.Unsubscribe(topic))
	f.eventually("given up", func() bool { return len(heldBy(m)) == 0 })
	f.restart(broker, embedmq.LoseTail(3, replicaTopic))
	copied(f, replica, "beijing", 7, 3)
	require.NoError(t, m.Subscribe(topic, consumer.MessageSelector{}, m.handle))
	keys = append(keys, copied(f, replica, "beijing", 10, 4)...)
	f.eventually("the rest", func() bool { return f.journal.succeeded() >= 14 && f.acknowledged(replicaTopic) })
	require.Empty(t, f.journal.wrong(keys))
}

// The same with fewer copies than the committed offset says: a batch that was there twice is there once now. The queue is opened all the same.
func TestReplicaQueueIsShorterThanItWas(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	m := f.join(both, soonSettled)
	keys := copied(f, replica, "beijing", 0, 10)
	copied(f, replica, "beijing", 7, 3)
	f.eventually("processed", func() bool { return f.journal.succeeded() == 10 && f.acknowledged(replicaTopic) })
	m.leave()
	f.restart(broker, embedmq.LoseTail(3, replicaTopic))
	f.join(both, soonSettled).opens(3)
	keys = append(keys, copied(f, replica, "beijing", 10, 1)...)
	f.eventually("the next one", func() bool { return f.journal.succeeded() >= 11 && f.acknowledged(replicaTopic) })
	require.Empty(t, f.journal.wrong(keys))
}

// The broker of a retry queue loses its tail, and another process takes the queue, which is shorter than what is committed: what is stored there
// next is read.
func TestRetryQueueIsShorterThanItWas(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join(failing(1))
	f.send("beijing", 10, home(0))
	f.exact()
	retries := remoting.Queue{Topic: "%RETRY%" + group, Broker: broker}
	f.eventually("retries acknowledged", func() bool { return f.committed(retries) == 10 })
	m.leave()
	f.restart(broker, embedmq.LoseTail(6, retries.Topic))
	f.join(failing(1))
	f.send("beijing", 3, home(0))
	f.exact()
}

// The broker of a fact log loses its tail, and others write more than was lost before this process looks again: it reads all of that.
func TestFactLogLostItsTail(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	f.send("beijing", 10, home(0))
	f.exact()
	f.eventually("read", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.tracker.Facts().Next(origin(home(0))) == 10
	})
	require.NoError(t, f.Kill(broker))
	f.eventually("the reader pauses", func() bool { return f.out.says("fact log cannot be read, trying again") })
	require.NoError(t, f.Restart(broker, embedmq.LoseTail(1000, factLog().Topic)))
	f.eventually("written", func() bool {
		_, err := f.mq.Send(f.ctx, factLog(), "tests", &remoting.Message{Body: filter.EncodeRecords([]filter.Record{
			{Kind: filter.Baseline, Group: group, Queue: foreign(), Offset: 7},
		})})
		return err == nil
	})
	for range 40 {
		f.write(factLog(), filter.Record{Kind: filter.Ack, Client: "another", Version: 1})
	}
	f.eventually("seen", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		_, known := m.tracker.Facts().Baseline(foreign())
		return known
	})
	f.eventually("done is written again", func() bool {
		return f.facts().Done(filter.Key{Set: unit, Term: 1}, origin(home(0))).String() == "[0,10)"
	})
	f.eventually("the table is acknowledged again", func() bool {
		all := filter.NewFacts()
		for _, r := range f.records(broker) {
			all.Apply(broker, r)
		}
		return all.Acked([]string{broker})[m.name] == f.router.Table().Version
	})
	f.send("beijing", 5, home(0))
	f.exact()
}

// A holder that was passed over publishes and commits while its queue is being opened. Facts precede commits, and the log is read behind the offset:
// it is not taken for somebody else's, and what that holder had left is processed.
func TestCommitWhileAQueueIsOpened(t *testing.T) {
	f := start(t, 1, nil)
	f.write(factLog(), filter.Record{Kind: filter.Baseline, Group: group, Queue: origin(home(0))})
	f.skip("beijing", 8, home(0))
	f.send("beijing", 2, home(0))
	about := func(name string) func(*remoting.Command) bool {
		return func(cmd *remoting.Command) bool { return cmd.Ext["topic"] == name }
	}
	f.Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Match: about(msha.ProgressTopic), Delay: time.Second}) // the log is read late
	asked := f.Inject(embedmq.Fault{Code: remoting.ReqQueryConsumerOffset, Match: about(topic), Delay: 200 * time.Millisecond, Times: 1})
	f.join()
	require.NoError(t, asked.Wait(f.ctx))
	f.write(factLog(), filter.Record{Kind: filter.Done, Group: group, Set: unit, Term: 1, Queue: origin(home(0)), Spans: filter.Range(0, 8), Next: 10})
	f.commit(home(0), 10)
	f.exact()
}

// Of a queue whose broker had lost what was read here, a new incarnation begins beyond that: it is still missed.
func TestRaiseBeyondWhatIsMissed(t *testing.T) {
	f := start(t, 1, nil)
	l := newLosses(f)
	f.join(l.known)
	f.send("beijing", 10, home(0))
	f.exact()
	f.restart(broker, embedmq.LoseTail(3, topic))
	f.skip("beijing", 8, home(0)) // offsets 7 to 14
	f.eventually("stopped", func() bool { return f.out.says("queue stopped", "another message at offset 9") })
	l.raise(12, 14)
	f.eventually("still missed", func() bool { return f.out.says("queue not opened", "another message at offset 9") })
	require.Equal(t, 10, f.journal.started())
}

// Handlers are slow and nothing is pulled while the broker restarts without its tail, and gets other messages: the next pull works, and must
// not go on behind them.
func TestBrokerLostItsTailWhileNothingWasPulled(t *testing.T) {
	f := start(t, 1, nil)
	gate := newBlocker(f)
	f.join(soonSettled, with(consumer.WithPullThresholdForQueue(10), consumer.WithConsumeGoroutineNums(1)),
		doing(func(ctx context.Context, _ *primitive.MessageExt) (consumer.ConsumeResult, error) {
			return gate.wait(ctx)
		}))
	f.send("beijing", 10, home(0))
	f.eventually("all is pulled", func() bool { return f.facts().Next(msha.OriginQueue{Unit: unit, Broker: broker, Topic: topic}) == 10 })
	f.restart(broker, embedmq.LoseTail(3, topic))
	f.skip("beijing", 8, home(0)) // offsets 7 to 14
	gate.release()
	f.eventually("stopped", func() bool { return f.out.says("queue stopped", "another message at offset 9") })
	require.LessOrEqual(t, f.journal.started(), 10, "nothing behind it was begun")
}
