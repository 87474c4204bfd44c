package consume

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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
)

// rest waits for what might still be processed a second time.
func rest() { time.Sleep(time.Second) }

// takeOver gives guangzhou to this unit.
func takeOver(f *fixture, spans map[msha.OriginQueue]filter.Offsets) {
	in := moves("task-2", "guangzhou", other, other, unit, 1)
	f.fence(in)
	f.write(factLog(), handOver(f, in, "hash", spans)...)
	f.commitMove(in, "hash")
}

// expectNothing forgets what was expected.
func (f *fixture) expectNothing() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = nil
}

// A replaced replicator's last batch lies behind copies that are further. The binary search of a re-scan lands behind it.
func TestSeekCopyPassesOverALateBatch(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	m := f.join(both)
	m.opens(3)
	first := copied(f, replica, "guangzhou", 0, 13)
	copied(f, replica, "guangzhou", 5, 4) // late
	last := copied(f, replica, "guangzhou", 13, 11)
	f.eventually("all skipped", func() bool { return m.Stats().Skipped == 28 && f.acknowledged(replicaTopic) })
	f.expectNothing()
	want := append(first[9:], last...)
	takeOver(f, map[msha.OriginQueue]filter.Offsets{foreign(): filter.From(9)})
	f.eventually("the later ones are read again", func() bool { return f.journal.succeeded() >= len(last) })
	rest()
	require.Empty(t, f.journal.wrong(want))
}

// Wherever late batches lie, a search finds the first copy of a message: from a later one on, what was copied between the two would seem to be
// missing.
func TestSeekCopyFindsTheFirstCopy(t *testing.T) {
	f := start(t, 1, nil)
	m := f.member()
	rnd := rand.New(rand.NewPCG(1, 1))
	for round := range 10 {
		local := remoting.Queue{Topic: fmt.Sprint("copies-", round), Broker: broker}
		f.topic(local.Topic, 1)
		first := map[int64]int64{} // local offset by origin offset
		var all []*remoting.Message
		store := func(from, n int64) {
			for off := from; off < from+n; off++ {
				if _, known := first[off]; !known {
					first[off] = int64(len(all))
				}
				msg := message("m", "beijing")
				msg.Properties[msha.PropertyOrigin] = msha.Origin{OriginQueue: foreign(), Offset: off}.Encode()
				all = append(all, msg)
				for rnd.IntN(4) == 0 {
					all = append(all, message("stray", "beijing"))
				}
			}
		}
		for rnd.IntN(2) == 0 {
			all = append(all, message("stray", "beijing"))
		}
		begin := rnd.Int64N(5)
		for end := begin; end < 60; {
			n := 1 + rnd.Int64N(12)
			store(end, n)
			end += n
			if back := rnd.Int64N(12); rnd.IntN(3) == 0 && end-back-8 >= begin {
				store(end-back-8, 8)
			}
		}
		f.put(local, all...)
		h := &held{queue: local, unit: other, ctx: f.ctx}
		for off, want := range first {
			at, _, err := m.seekCopy(h, foreign(), 0, off)
			require.NoError(t, err)
			require.LessOrEqual(t, at, want, "round %d, offset %d", round, off)
		}
	}
}

// A queue is taken when a late batch is what was committed last: what lies between its origin offsets and the next message counts as
// filtered out.
func TestAcquiredBehindALateBatch(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	m := f.join(both)
	m.opens(3)
	first := copied(f, replica, "guangzhou", 0, 13)
	copied(f, replica, "guangzhou", 5, 4) // late
	f.eventually("all skipped", func() bool { return m.Stats().Skipped == 17 && f.acknowledged(replicaTopic) })
	m.leave()
	f.expectNothing()
	takeOver(f, map[msha.OriginQueue]filter.Offsets{foreign(): filter.From(9)})
	last := copied(f, replica, "guangzhou", 13, 3)
	f.join(both)
	f.eventually("the later ones", func() bool { return f.journal.succeeded() >= len(last) })
	rest()
	require.Empty(t, f.journal.wrong(append(first[9:], last...)))
}

// A process that takes a replica queue of several incarnations looks at the newest one only.
func TestReplicaOfSeveralIncarnationsAfterRestart(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	m := f.join(both)
	m.opens(3)
	n := 0
	put := func(incarnation, from, to int64) {
		for off := from; off < to; off++ {
			o := msha.Origin{OriginQueue: foreign(), Offset: off}
			o.Incarnation = incarnation
			msg := message(o.String(), "guangzhou")
			msg.Properties[msha.PropertyUnit], msg.Properties[msha.PropertyOrigin] = other, o.Encode()
			f.put(replica, msg)
			f.expect(o.String())
			n++
		}
	}
	put(0, 0, 10)
	put(1, 7, 12)
	f.eventually("acknowledged", func() bool { return m.Stats().Skipped == int64(n) && f.acknowledged(replicaTopic) })
	m.leave()
	f.join(both).opens(3)
	takeOver(f, nil)
	f.eventually("all are read again", func() bool { return f.journal.succeeded() >= 15 })
	rest()
	require.Empty(t, f.journal.wrong(f.keys()))
}

// What the broker filtered out behind the message read last was lost; other messages, which the group wants, are stored there instead.
func TestCarryTakesFilteredOffsets(t *testing.T) {
	f := start(t, 1, nil)
	l := newLosses(f)
	tagged := func(tag string, n int) (keys []string) {
		for range n {
			m := message("", "beijing")
			key := string(rune('a'+f.serial.Add(1))) + tag
			m.Body, m.Properties["KEYS"], m.Properties["TAGS"] = []byte(key), key, tag
			f.put(home(0), m)
			keys = append(keys, key)
		}
		return keys
	}
	f.expect(tagged("wanted", 4)...)
	tagged("other", 6)
	f.join(l.known, func(m *member) { m.tags = "wanted" })
	f.exact()
	f.restart(broker, embedmq.LoseTail(3, topic))
	f.expect(tagged("wanted", 3)...)
	l.raise(7, 9)
	f.eventually("taken again", func() bool { return f.out.says("queue has a new incarnation", "SMS/broker-a/0") })
	f.expect(tagged("wanted", 2)...)
	f.eventually("the last ones", func() bool { return f.journal.succeeded() >= 6 })
	rest()
	require.Empty(t, f.journal.wrong(f.keys()))
}

// The broker comes back without its tail and with an older committed offset, as it stores those every 5 s. A process that does not know of
// the loss yet skips what is there now as done; that it carries over.
func TestCarryTakesWhatWasDoneBefore(t *testing.T) {
	f := start(t, 1, nil)
	l := newLosses(f)
	m := f.join(l.known)
	f.send("beijing", 10, home(0))
	f.exact()
	m.leave()
	f.restart(broker, embedmq.LoseTail(3, topic))
	f.commit(home(0), 5)
	f.send("beijing", 3, home(0))
	f.join(l.known)
	f.eventually("read", func() bool { return f.committed(home(0)) == 10 })
	l.raise(7, 9)
	f.eventually("taken again", func() bool { return f.out.says("queue has a new incarnation", "SMS/broker-a/0") })
	f.send("beijing", 2, home(0))
	f.eventually("the last ones", func() bool { return f.journal.succeeded() >= 12 })
	rest()
	require.Empty(t, f.journal.wrong(f.keys()))
}

// A message that waits for its retry when the incarnation is raised is also read again under its new identity.
func TestCarryForgetsRetries(t *testing.T) {
	f := start(t, 1, &embedmq.Options{DelayLevels: slices.Repeat([]time.Duration{2 * time.Second}, 18)})
	l := newLosses(f)
	var once atomic.Bool
	f.join(l.known, doing(func(_ context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.QueueOffset == 8 && m.ReconsumeTimes == 0 && m.Queue.Topic == topic {
			if once.CompareAndSwap(false, true) {
				return consumer.ConsumeRetryLater, nil
			}
		}
		return consumer.ConsumeSuccess, nil
	}))
	f.send("beijing", 13, home(0)) // of which the replicator had others from 7 to 9
	f.eventually("one waits", func() bool { return f.journal.succeeded() == 12 && f.count(filter.Sent) == 1 })
	l.raise(7, 9)
	f.eventually("taken again", func() bool { return f.out.says("queue has a new incarnation", "SMS/broker-a/0") })
	f.eventually("the retry copy comes", func() bool {
		end, err := f.mq.MaxOffset(f.ctx, remoting.Queue{Topic: "%RETRY%" + group, Broker: broker})
		return err == nil && end == 1
	})
	f.exact()
}

// tardy engines take a while to look at the incarnations for the first time; queues may be opened meanwhile.
func tardy(m *member) {
	known, first := m.cfg.Incarnations, sync.OnceFunc(func() { time.Sleep(300 * time.Millisecond) })
	m.cfg.Incarnations = func() (*msha.Incarnations, <-chan struct{}) {
		first()
		return known()
	}
}

// A group that is managed for the first time after an incarnation was raised begins at its committed offset.
func TestNewGroupAfterARaise(t *testing.T) {
	for name, committed := range map[string]bool{"plain client before": true, "from last": false} {
		t.Run(name, func(t *testing.T) {
			f := start(t, 1, nil)
			l := newLosses(f)
			f.skip("beijing", 20, home(0))
			l.raise(7, 9)
			if committed {
				f.commit(home(0), 20)
			}
			f.join(l.known, tardy, from(consumer.ConsumeFromLastOffset)).opens(2)
			f.send("beijing", 3, home(0))
			f.eventually("processed", func() bool { return f.journal.succeeded() >= 3 })
			rest()
			require.Empty(t, f.journal.wrong(f.keys()))
		})
	}
}

// The topic is deleted, and the committed offsets with it, and created again: the group's baseline is beyond its end.
func TestRecreatedTopicBelowTheBaseline(t *testing.T) {
	f := start(t, 1, nil)
	l := newLosses(f)
	f.skip("beijing", 8, home(0))
	f.commit(home(0), 8)
	m := f.join(l.known)
	f.send("beijing", 2, home(0))
	f.exact()
	m.leave()
	require.NoError(t, f.mq.DeleteTopic(f.ctx, f.BrokerAddr(broker), topic))
	f.topic(topic, 1)
	l.raise(0, 9)
	f.join(l.known)
	f.send("beijing", 3, home(0))
	f.exact()
}

// The same, of replica queues: the baseline comes with a snapshot, because the record itself has expired.
func TestOrderedBaselineInASnapshot(t *testing.T) {
	f := start(t, 1, nil)
	f.topic(replicaTopic, 1)
	f.topic(copyOfLog.Topic, 1)
	m := f.join(both, ordered)
	m.opens(3)
	first := copied(f, replica, "guangzhou", 0, 10)
	f.eventually("all skipped", func() bool { return m.Stats().Skipped == 10 && f.acknowledged(replicaTopic) })
	takeOver(f, nil)
	f.settled(m)
	last := copied(f, replica, "guangzhou", 10, 3)
	f.eventually("pulled", func() bool { return m.GetOffsetDiffMap()[topic] == 3 })
	f.write(copyOfLog, filter.Record{Kind: filter.Snapshot, Group: group, Chunks: 1, Records: []filter.Record{
		{Kind: filter.Baseline, Group: group, Queue: foreign(), Offset: 0}}})
	f.eventually("all", func() bool { return f.journal.succeeded() >= 13 })
	f.inLine(append(first, last...))
}

// A late batch waits behind a re-scan that waits for room, behind the late batch.
func TestOrderedLateBatchAndFullBuffer(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	small := with(consumer.WithPullThresholdForQueue(64))
	m := f.join(both, ordered, small)
	m.opens(3)
	first := copied(f, replica, "guangzhou", 0, 600)
	f.eventually("all skipped", func() bool { return m.Stats().Skipped == 600 && f.acknowledged(replicaTopic) })
	m.leave()
	f.expectNothing()
	takeOver(f, map[msha.OriginQueue]filter.Offsets{foreign(): filter.From(9)})
	copied(f, replica, "guangzhou", 5, 4) // late
	f.join(both, ordered, small)
	f.eventually("all", func() bool { return f.journal.succeeded() >= 591 })
	f.inLine(first[9:])
}

// A retry copy of the time before the group was ordered: Commit is no failure, and one failure is no reason for the dead-letter topic, as an
// ordered group without MaxReconsumeTimes tries for ever.
func TestRetryCopyInAnOrderedGroup(t *testing.T) {
	for name, first := range map[string]consumer.ConsumeResult{"commit": consumer.Commit, "suspend": consumer.SuspendCurrentQueueAMoment} {
		t.Run(name, func(t *testing.T) {
			f := start(t, 1, nil)
			hold := f.Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Error: remoting.RespSystemBusy, Match: func(cmd *remoting.Command) bool {
				return cmd.Ext["topic"] == retryTopic && cmd.Ext["consumerGroup"] == group
			}})
			m := f.join(failing(1))
			f.send("beijing", 1, home(0))
			f.eventually("failed", func() bool { return f.count(filter.Sent) == 1 })
			m.leave()
			hold.Remove()
			var runs atomic.Int32
			m = f.join(ordered, doing(func(context.Context, *primitive.MessageExt) (consumer.ConsumeResult, error) {
				if runs.Add(1) == 1 {
					return first, nil
				}
				return consumer.ConsumeSuccess, nil
			}))
			f.eventually("all acknowledged", func() bool { return runs.Load() > 0 && f.acknowledged(topic) })
			require.Zero(t, m.Stats().DeadLettered)
			if first == consumer.Commit {
				require.EqualValues(t, 1, runs.Load())
			}
		})
	}
}
