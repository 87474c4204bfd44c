package consume

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

func TestMoved(t *testing.T) {
	for _, c := range []struct {
		at, low, high, to int64
		reset             bool
		want              move
	}{
		{at: 5, low: 7, high: 20, to: 7, want: expired},
		{at: 5, low: 7, high: 7, to: 7, want: expired},
		{at: 25, low: 0, high: 20, to: 20, want: cutOff},
		{at: 25, low: 0, high: 20, to: 0, want: cutOff},
		{at: 25, low: 0, high: 0, to: 0, want: cutOff},
		{at: 9, low: 0, high: 20, to: 3, want: cutOff},
		{at: 9, low: 0, high: 20, to: 12, want: skips},
		{at: 9, low: 0, high: 20, to: 9, want: stays},
		{at: 9, low: 0, high: 20, to: 9, reset: true, want: stays},
		{at: 9, low: 0, high: 20, to: 10, reset: true, want: skips},
		{at: 9, low: 0, high: 20, to: 20, reset: true, want: skips},
		{at: 5, low: 7, high: 20, to: 9, reset: true, want: skips},
		{at: 9, low: 0, high: 20, to: 0, reset: true, want: repeats},
		{at: 25, low: 0, high: 20, to: 3, reset: true, want: repeats}, // the next pull tells that the tail is lost
		{at: 9, low: 0, high: 20, to: 21, reset: true, want: beyond},
		{at: 20, low: 0, high: 20, to: 21, reset: true, want: beyond},
	} {
		require.Equal(t, c.want, moved(c.at, c.low, c.high, c.to, c.reset), "%+v", c)
	}
}

// ways are the two in which RocketMQ resets the offsets of a group that runs: it answers the group's next pull, or tells its clients.
func ways(t *testing.T, run func(t *testing.T, o *embedmq.Options)) {
	t.Run("told with a pull", func(t *testing.T) { run(t, &embedmq.Options{}) })
	t.Run("told to the clients", func(t *testing.T) { run(t, &embedmq.Options{ClientResets: true}) })
}

// reset is what mqadmin's resetOffsetByTime does.
func (f *fixture) reset(topic string, timestamp int64) {
	f.Helper()
	f.operator = true
	_, err := f.mq.ResetOffsets(f.ctx, f.BrokerAddr(broker), group, topic, timestamp, true)
	require.NoError(f, err)
}

// resetTo does it for one queue.
func (f *fixture) resetTo(q remoting.Queue, offset int64) {
	f.Helper()
	f.operator = true
	require.NoError(f, f.mq.ResetOffset(f.ctx, f.BrokerAddr(broker), group, q, offset))
}

// told is what a broker tells its clients of a reset (RocketMQ 4).
func (m *member) told(group string, offsets map[remoting.Queue]int64) *remoting.Command {
	m.f.operator = true
	return m.OnRequest(remoting.NewRequest(remoting.ReqResetConsumerOffset, map[string]string{"group": group, "topic": topic}, remoting.EncodeOffsetTable(offsets)))
}

// forget takes messages out of what is expected.
func (f *fixture) forget(n int) (skipped []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	skipped = f.sent[len(f.sent)-n:]
	f.sent = f.sent[:len(f.sent)-n]
	return skipped
}

// end is the end of a process: the last pull, which the broker still holds, would be told of what comes later.
func (m *member) end() {
	m.leave()
	m.client.Close()
}

// idle waits until everything processed is committed.
func (f *fixture) idle(topics ...string) {
	f.Helper()
	f.eventually("idle", func() bool {
		return f.journal.succeeded() == len(f.keys()) && f.journal.running() == 0 && f.acknowledged(topics...)
	})
	require.Empty(f, f.journal.wrong(f.keys()))
}

func TestResetBack(t *testing.T) {
	ways(t, func(t *testing.T, o *embedmq.Options) {
		f := start(t, 2, o)
		m := f.join()
		f.send("beijing", 20, home(0), home(1))
		f.exact()
		f.reset(topic, 0)
		f.send("beijing", 4, home(0), home(1)) // a held pull is told with the next message
		f.eventually("reported", func() bool { return m.Stats().ResetBack == 2 })
		f.exact()
		require.True(t, f.out.says("level=WARN", "offset reset backwards", "queue=SMS/broker-a/1", "from=1", "to=0", "POST /replay"))
		require.Zero(t, m.Stats().ResetSkipped)
		require.EqualValues(t, 24, f.journal.started(), "nothing was started again")
		m.leave()
		m = f.join()
		f.send("beijing", 2, home(0), home(1))
		f.exact()
		require.Zero(t, m.Stats().ResetBack+m.Stats().Expired+m.Stats().ResetRefused)
	})
}

// A backlog is skipped while handlers are busy: what is in the buffer goes on, the rest is nobody's any more, in later processes and under a
// later term too.
func TestResetForward(t *testing.T) {
	ways(t, func(t *testing.T, o *embedmq.Options) {
		for _, ordered := range []bool{false, true} {
			t.Run(fmt.Sprintf("ordered=%v", ordered), func(t *testing.T) {
				f := start(t, 1, &embedmq.Options{ClientResets: o.ClientResets})
				order := with(consumer.WithConsumerOrder(ordered))
				gate := newBlocker(f)
				m := f.join(gate.handler(), order, with(consumer.WithPullThresholdForQueue(4), consumer.WithPullBatchSize(4)))
				f.send("beijing", 4, home(0))
				f.eventually("buffer full", func() bool { return m.GetOffsetDiffMap()[topic] == 4 && f.journal.running() > 0 })
				f.eventually("committed", func() bool { return f.committed(home(0)) == 0 })
				f.skip("guangzhou", 5, home(0)) // the other unit's
				f.send("beijing", 20, home(0))
				f.reset(topic, -1)
				f.forget(20)
				if o.ClientResets { // also with a full buffer
					f.eventually("skipped", func() bool { return m.Stats().ResetSkipped == 25 })
				}
				f.send("beijing", 3, home(0))
				gate.release()
				f.eventually("skipped", func() bool { return m.Stats().ResetSkipped == 25 })
				f.exact()
				require.True(t, f.out.says("level=ERROR", "offset reset forwards: messages skipped", "queue=SMS/broker-a/0", "from=4", "to=28", "messages=25", "POST /replay"))
				require.Zero(t, m.Stats().Expired+m.Stats().ResetBack+m.Stats().ResetRefused)
				m.leave()
				done := f.facts().Done(filter.Key{Set: unit, Term: 1}, origin(home(0)))
				require.Equal(t, "[0,32)", done.String())
				m = f.join(order)
				f.send("beijing", 3, home(0))
				f.exact()
				require.Zero(t, m.Stats().Reread)
			})
		}
	})
}

// A process that dies after an operator's reset, and before it has read of it, leaves it to the next one. What it had read goes on.
func TestResetOfADeadProcess(t *testing.T) {
	f := start(t, 1, &embedmq.Options{LockExpiry: lockExpiry})
	gate := newBlocker(f)
	m := f.join(brief, gate.handler(), with(consumer.WithPullThresholdForQueue(4), consumer.WithPullBatchSize(4)))
	f.send("beijing", 4, home(0))
	f.eventually("buffer full and published", func() bool { return f.journal.running() == 4 && f.facts().Next(origin(home(0))) == 4 })
	f.send("beijing", 20, home(0))
	f.reset(topic, -1)
	f.forget(20)
	m.kill()
	f.eventually("handlers ended", func() bool { return f.journal.running() == 0 })
	next := f.join(brief)
	f.idle(topic)
	require.EqualValues(t, 20, next.Stats().ResetSkipped)
	require.EqualValues(t, 4, next.Stats().Reread)
}

// A wish that cannot be carried out yet stays at the broker, whatever is committed: the process may die over it.
func TestResetThatWaits(t *testing.T) {
	f := start(t, 1, &embedmq.Options{LockExpiry: lockExpiry})
	gate := newBlocker(f)
	m := f.join(brief, gate.handler(), with(consumer.WithPullThresholdForQueue(4), consumer.WithPullBatchSize(4)), func(m *member) { m.cfg.PublishEvery = time.Hour })
	f.send("beijing", 4, home(0))
	f.eventually("buffer full", func() bool { return f.journal.running() == 4 })
	require.NoError(t, m.publishAt(f.ctx, broker, true))
	f.send("beijing", 20, home(0))
	f.reset(topic, -1)
	f.forget(20)
	unknown := f.Inject(embedmq.Fault{Code: remoting.ReqGetMinOffset, Match: func(cmd *remoting.Command) bool { return cmd.Ext["topic"] == topic }, Drop: true})
	gate.release()
	require.NoError(t, unknown.Wait(f.ctx))
	f.eventually("what was buffered is processed", func() bool { return f.journal.succeeded() == 4 && f.journal.running() == 0 })
	require.NoError(t, m.publishAt(f.ctx, broker, true))
	require.EqualValues(t, 24, f.committed(home(0)))
	m.kill()
	unknown.Remove()
	next := f.join(brief)
	f.eventually("skipped", func() bool { return next.Stats().ResetSkipped == 20 })
	f.send("beijing", 1, home(0))
	f.idle(topic)
}

// While nobody runs, an operator's reset is an offset that somebody else has committed.
func TestCommittedByAnother(t *testing.T) {
	for name, commit := range map[string]func(f *fixture, to int64){
		"reset":  func(f *fixture, to int64) { f.resetTo(home(0), to) },
		"commit": func(f *fixture, to int64) { f.commit(home(0), to) },
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, 1, nil)
			m := f.join(failing(1))
			f.send("beijing", 10, home(0))
			f.exact()
			m.end()
			f.send("beijing", 10, home(0))
			commit(f, 17)
			rest := f.forget(10)[7:]
			f.expect(rest...)
			m = f.join()
			f.exact()
			require.EqualValues(t, 7, m.Stats().ResetSkipped)
			require.True(t, f.out.says("level=ERROR", "offset reset forwards", "from=10", "to=16", "messages=7"))
			m.end()
			m = f.join() // once
			f.send("beijing", 1, home(0))
			f.exact()
			require.Zero(t, m.Stats().ResetSkipped+m.Stats().Reread)
			m.end()
			commit(f, 3)
			m = f.join()
			f.send("beijing", 1, home(0))
			f.exact()
			require.Zero(t, m.Stats().ResetSkipped)
			if name == "reset" { // a commit may be one of a process that was killed
				require.EqualValues(t, 1, m.Stats().ResetBack)
				require.True(t, f.out.says("offset reset backwards", "from=21", "to=3"))
			}
		})
	}
}

func TestResetBeyondTheEnd(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	f.send("beijing", 10, home(0))
	f.exact()
	m.told(group, map[remoting.Queue]int64{home(0): 100})
	f.send("beijing", 1, home(0))
	f.eventually("refused", func() bool { return m.Stats().ResetRefused == 1 })
	require.True(t, f.out.says("level=ERROR", "offset reset refused: it is beyond the end", "queue=SMS/broker-a/0", "to=100", "end=11"))
	f.send("beijing", 5, home(0))
	f.exact()
	require.Zero(t, m.Stats().ResetSkipped+m.Stats().ResetBack)
}

// Retry copies are all that brings a message back.
func TestResetOfARetryQueue(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join(failing(2))
	retry := remoting.Queue{Topic: "%RETRY%" + group, Broker: broker}
	f.send("beijing", 10, home(0))
	f.exact()
	f.resetTo(retry, 0)
	f.send("beijing", 1, home(0))
	f.eventually("refused", func() bool { return m.Stats().ResetRefused == 1 })
	f.exact()
	require.True(t, f.out.says("offset reset refused: retry copies"))
	m.leave()
	end := f.committed(retry)
	f.send("beijing", 3, home(0))
	m = f.join(failing(2))
	f.exact()
	m.leave()
	require.EqualValues(t, end+6, f.committed(retry))
}

// In a replica queue offsets are others than the identities that facts speak of.
func TestResetForwardInAReplicaQueue(t *testing.T) {
	ways(t, func(t *testing.T, o *embedmq.Options) {
		f := start(t, 1, o)
		f.topic(replicaTopic, 1)
		f.topic(copyOfLog.Topic, 1)
		f.foreignBaseline(100)
		gate := newBlocker(f)
		m := f.join(both, gate.handler(), with(consumer.WithPullThresholdForQueue(4), consumer.WithPullBatchSize(4)))
		copied(f, replica, "beijing", 100, 4)
		f.eventually("buffer full", func() bool { return f.journal.running() == 4 && f.committed(replica) == 0 })
		copied(f, replica, "beijing", 104, 10)
		copied(f, replica, "beijing", 104, 6) // a batch that was stored twice, late
		f.put(replica, message("stray", "beijing"))
		f.reset(replicaTopic, -1)
		f.forget(16)
		if o.ClientResets {
			f.eventually("skipped", func() bool { return m.Stats().ResetSkipped == 17 })
		}
		gate.release()
		f.eventually("skipped", func() bool { return m.Stats().ResetSkipped == 17 })
		f.idle(replicaTopic)
		require.True(t, f.out.says("offset reset forwards", replicaTopic, "from=4", "to=20"))
		done := f.facts().Done(filter.Key{Set: unit, Term: 1}, foreign())
		require.Equal(t, "[100,114)", done.Intersect(filter.From(100)).String())
		copied(f, replica, "beijing", 114, 3)
		f.idle(replicaTopic)
		m.leave()
		m = f.join(both)
		copied(f, replica, "beijing", 117, 3)
		f.idle(replicaTopic)
		require.Zero(t, m.Stats().Reread)
		m.leave()

		// Nobody runs: an offset that somebody else commits.
		copied(f, replica, "beijing", 120, 10)
		at := f.committed(replica)
		f.commit(replica, at+6)
		skipped := f.forget(10)
		f.expect(skipped[6:]...)
		m = f.join(both)
		f.idle(replicaTopic)
		require.EqualValues(t, 6, m.Stats().ResetSkipped)
		require.True(t, f.out.says("offset reset forwards", replicaTopic, fmt.Sprintf("from=%d", at), fmt.Sprintf("to=%d", at+5)))
		require.Equal(t, "[100,130)", f.facts().Done(filter.Key{Set: unit, Term: 1}, foreign()).Intersect(filter.From(100)).String())
	})
}

// The origin lost its tail while it was copied: what is skipped is of two incarnations.
func TestResetForwardOverIncarnations(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	gate := newBlocker(f)
	m := f.join(both, gate.handler(), with(consumer.WithPullThresholdForQueue(4), consumer.WithPullBatchSize(4)))
	again := foreign()
	again.Incarnation = 1
	late := func(from int64, n int) {
		for i := range int64(n) {
			o := msha.Origin{OriginQueue: again, Offset: from + i}
			msg := message(fmt.Sprintf("again-%d", o.Offset), "beijing")
			msg.Properties[msha.PropertyUnit], msg.Properties[msha.PropertyOrigin] = other, o.Encode()
			f.put(replica, msg)
			f.expect(fmt.Sprintf("again-%d", o.Offset))
		}
	}
	copied(f, replica, "beijing", 0, 4)
	f.eventually("buffer full", func() bool { return f.journal.running() == 4 && f.committed(replica) == 0 })
	copied(f, replica, "beijing", 4, 16)
	late(15, 7)
	f.forget(23)
	f.reset(replicaTopic, -1)
	gate.release()
	f.eventually("skipped", func() bool { return m.Stats().ResetSkipped == 23 })
	late(22, 3)
	f.idle(replicaTopic)
	m.leave()
	facts := f.facts()
	require.Equal(t, "[0,20)", facts.Done(filter.Key{Set: unit, Term: 1}, foreign()).String())
	require.Equal(t, "[15,25)", facts.Done(filter.Key{Set: unit, Term: 1}, again).Intersect(filter.From(15)).String())
	m = f.join(both)
	late(25, 3)
	f.idle(replicaTopic)
	require.Zero(t, m.Stats().Reread)
}

// Copies that the group's subscription filters out are read without being seen: the commit behind them is the group's own.
func TestFilteredCopiesAreNoReset(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	tagged := func(m *member) { m.tags = "a" }
	m := f.join(both, tagged)
	copied(f, replica, "beijing", 0, 10)
	f.forget(10)
	f.eventually("read", func() bool { return f.committed(replica) == 10 })
	m.leave()
	m = f.join(both, tagged)
	m.opens(3)
	f.eventually("nothing is left to look for", func() bool { return f.acknowledged(replicaTopic) })
	require.Zero(t, m.Stats().ResetSkipped)
}

// RocketMQ 4 names all queues of a topic, also those that a reset to an earlier time leaves where they are.
func TestResetThatLeavesAQueue(t *testing.T) {
	f := start(t, 2, &embedmq.Options{ClientResets: true})
	m := f.join()
	f.send("beijing", 10, home(0), home(1))
	f.exact()
	m.told(group, map[remoting.Queue]int64{home(0): 5, home(1): 2})
	f.send("beijing", 2, home(0), home(1))
	f.eventually("reported", func() bool { return m.Stats().ResetBack == 1 })
	f.exact()
	require.EqualValues(t, 1, m.Stats().ResetBack)
	require.True(t, f.out.says("offset reset backwards", "SMS/broker-a/1", "to=2"))
}

func TestUnreadableReset(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	answer := m.OnRequest(remoting.NewRequest(remoting.ReqResetConsumerOffset, map[string]string{"group": group, "topic": topic}, []byte(`{"offsetTable":[{}]}`)))
	require.Equal(t, remoting.RespSystemError, answer.Code)
	require.True(t, f.out.says("level=ERROR", "offset reset cannot be read"))
	answer = m.told("another", map[remoting.Queue]int64{home(0): 5})
	require.Equal(t, remoting.RespSuccess, answer.Code)
	f.send("beijing", 3, home(0))
	f.exact()
	require.Zero(t, m.Stats().ResetRefused+m.Stats().ResetSkipped)
}
