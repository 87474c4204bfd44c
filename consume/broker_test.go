package consume

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// restart kills a broker that still runs, starts it again and waits until the test is connected to it.
func (f *fixture) restart(name string, t embedmq.Tail) {
	f.Helper()
	require.NoError(f, f.Kill(name))
	require.NoError(f, f.Restart(name, t))
	f.eventually("broker back", func() bool {
		_, err := f.mq.MaxOffset(f.ctx, remoting.Queue{Topic: topic, Broker: name})
		return err == nil
	})
}

// A broker dies with handlers running, retries on their way and facts not yet published; it comes back with all it had acknowledged.
func TestBrokerRestarted(t *testing.T) {
	f := start(t, 2, nil)
	gate := newBlocker(f)
	a := f.join(gate.handler(), with(consumer.WithConsumeGoroutineNums(4)))
	b := f.join(failing(1))
	f.share(map[*member]int{a: 1, b: 1})
	f.send("beijing", 40, home(0), home(1))
	f.eventually("a busy, b at it", func() bool { return f.journal.by(a.name) == 4 && b.Stats().Failed > 0 })
	require.NoError(t, f.Kill(broker))
	gate.release()
	f.eventually("handlers ended", func() bool { return f.journal.running() == 0 })
	f.restart(broker, embedmq.KeepAll)
	f.send("beijing", 20, home(0), home(1))
	f.exact()
}

// The broker comes back without the last messages and stores others under their offsets. They are not taken for what was done: the
// queue stops and says so; other topics go on.
func TestBrokerLostItsTail(t *testing.T) {
	f := start(t, 1, nil)
	f.topic("Mail", 1)
	mail := remoting.Queue{Topic: "Mail", Broker: broker}
	m := f.join()
	require.NoError(t, m.Subscribe("Mail", consumer.MessageSelector{}, m.handle))
	f.send("beijing", 10, home(0))
	f.send("beijing", 10, mail)
	f.exact()
	f.eventually("mail acknowledged", func() bool { return f.committed(mail) == 10 })
	f.restart(broker, embedmq.LoseTail(3, topic))
	f.skip("beijing", 6, home(0)) // offsets 7 to 12
	f.eventually("report", func() bool {
		return f.out.says("SMS/broker-a/0", "another message at offset 9", "raise it (msha.Raise)")
	})
	f.send("beijing", 5, mail)
	f.eventually("mail goes on", func() bool { return f.journal.succeeded() == 25 && f.committed(mail) == 15 })
	require.Empty(t, f.journal.wrong(f.keys()))
	require.EqualValues(t, 10, f.committed(home(0)), "nothing is acknowledged of what is there now")
	require.Equal(t, "[0,10)", f.facts().Done(filter.Key{Set: unit, Term: 1}, origin(home(0))).String())
}

// The same while the queue was given up for a moment, as it is when the broker is away for long. What somebody else has committed
// meanwhile is his decision.
func TestBrokerLostItsTailBetweenTwoHolds(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	f.send("beijing", 10, home(0))
	f.exact()
	require.NoError(t, m.Unsubscribe(topic))
	f.eventually("given up", func() bool { return len(heldBy(m)) == 0 })
	f.restart(broker, embedmq.LoseTail(3, topic))
	f.skip("beijing", 6, home(0))
	require.NoError(t, m.Subscribe(topic, consumer.MessageSelector{}, m.handle))
	f.eventually("report", func() bool {
		return f.out.says("queue not opened", "SMS/broker-a/0", "another message at offset 9", "raise it (msha.Raise)")
	})
	require.Equal(t, 10, f.journal.started())
	f.commit(home(0), 13)
	m.opens(2)
}

// Nothing new arrives: once the broker had time to show what it has, the queue stops.
func TestBrokerLostItsTailAndNothingFollows(t *testing.T) {
	f := start(t, 1, nil)
	f.join(func(m *member) { m.lim.settle = 500 * time.Millisecond })
	f.send("beijing", 10, home(0))
	f.exact()
	f.restart(broker, embedmq.LoseTail(3, topic))
	f.eventually("report", func() bool {
		return f.out.says("queue stopped", "nothing at offset 9, which was read", "raise it (msha.Raise)")
	})
	require.EqualValues(t, 10, f.committed(home(0)))
	require.Empty(t, f.journal.wrong(f.keys()))
}

// The same when nobody was reading: the next process refuses the queue, because its committed offset lies beyond the end.
func TestBrokerLostItsTailMeanwhile(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	f.send("beijing", 10, home(0))
	f.exact()
	m.leave()
	f.restart(broker, embedmq.LoseTail(3, topic))
	f.join()
	f.eventually("report", func() bool { return f.out.says("queue not opened", "committed offset 10, the queue ends at 7") })
	require.Equal(t, 10, f.journal.started())
}

// One of two brokers answers nothing: the queues of the other one go on, with their facts and offsets; then the hung one's too.
func TestOneBrokerHangs(t *testing.T) {
	const hung = "broker-b"
	f := start(t, 2, &embedmq.Options{Brokers: []string{broker, hung}})
	away := []remoting.Queue{{Topic: topic, Broker: hung}, {Topic: topic, Broker: hung, ID: 1}}
	m := f.join(func(m *member) { m.lim.call = 3 * time.Second }, failing(1))
	m.opens(6)
	f.send("beijing", 10, home(0), home(1), away[0], away[1])
	f.exact()
	fault := f.Inject(embedmq.Fault{Broker: hung, Delay: time.Hour})
	for range 3 {
		f.send("beijing", 10, home(0), home(1))
		f.eventually("goes on", func() bool { return f.journal.succeeded() == len(f.keys()) })
	}
	f.eventually("committed", func() bool { return f.committed(home(0))+f.committed(home(1)) == 36 })
	require.Len(t, m.opened(), 6)
	fault.Remove()
	f.restart(hung, embedmq.KeepAll) // what hangs is never answered
	f.send("beijing", 10, home(0), home(1), away[0], away[1])
	f.exact()
}

// While one of two brokers is down, with facts that only it can take, the queues of the other one move between the members.
func TestQueueMovesWhileABrokerIsDown(t *testing.T) {
	const down = "broker-b"
	f := start(t, 2, &embedmq.Options{Brokers: []string{broker, down}})
	gate := newBlocker(f)
	a := f.join(doing(func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.Queue.BrokerName == down {
			select {
			case <-gate.open:
			case <-ctx.Done():
			}
		}
		return consumer.ConsumeSuccess, ctx.Err()
	}))
	a.opens(6)
	f.send("beijing", 8, home(0), home(1), remoting.Queue{Topic: topic, Broker: down}, remoting.Queue{Topic: topic, Broker: down, ID: 1})
	f.eventually("busy", func() bool { return f.journal.running() == 4 && f.journal.succeeded() == 4 })
	require.NoError(t, f.Kill(down))
	gate.release()
	f.eventually("handlers ended", func() bool { return f.journal.running() == 0 })
	b := f.join()
	f.eventually("b got its share", func() bool {
		return slices.Contains(b.opened(), "SMS/broker-a/0") || slices.Contains(b.opened(), "SMS/broker-a/1")
	})
	f.send("beijing", 10, home(0), home(1))
	f.eventually("both work", func() bool { return f.journal.succeeded() == 18 && f.journal.by(b.name) == 5 })
	b.leave()
	f.eventually("a has them back", func() bool {
		return slices.Contains(a.opened(), "SMS/broker-a/0") && slices.Contains(a.opened(), "SMS/broker-a/1")
	})
	require.NoError(t, f.Restart(down, embedmq.KeepAll))
	a.opens(6)
	f.exact()
}

// One of two brokers hangs with facts that only it can take: those of the other one are published, and given back in a graceful shutdown.
func TestHungBrokerKeepsNobodyElseFromPublishing(t *testing.T) {
	const hung = "broker-b"
	f := start(t, 1, &embedmq.Options{Brokers: []string{broker, hung}})
	gate := newBlocker(f)
	m := f.join(func(m *member) { m.lim.call = time.Hour }, doing(func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.Queue.BrokerName == hung {
			return gate.wait(ctx)
		}
		return consumer.ConsumeSuccess, nil
	}))
	m.opens(4)
	f.send("beijing", 4, home(0), remoting.Queue{Topic: topic, Broker: hung})
	f.eventually("two at work", func() bool { return f.journal.running() == 2 && f.journal.succeeded() == 2 })
	fault := f.Inject(embedmq.Fault{Broker: hung, Delay: time.Hour, Match: func(cmd *remoting.Command) bool {
		return cmd.Code != remoting.ReqHeartbeat && cmd.Code != remoting.ReqGetConsumerListByGroup && cmd.Code != remoting.ReqLockBatchMQ
	}})
	gate.release()
	f.eventually("facts on their way", func() bool { return fault.Hits() > 0 && f.journal.succeeded() == 4 })
	f.send("beijing", 5, home(0))
	f.eventually("committed", func() bool { return f.committed(home(0)) == 7 })
	ctx, cancel := context.WithTimeout(f.ctx, time.Minute)
	defer cancel()
	m.gone = true
	require.Error(t, m.Close(ctx))
	require.Equal(t, 2, f.count(filter.Release), "of the other broker's queues")
	ids, err := f.mq.ConsumerIDs(f.ctx, f.BrokerAddr(broker), group)
	require.NoError(t, err)
	require.Empty(t, ids)
}

// A broker dies with facts that only it can take, and a switch is aborted meanwhile: what was skipped at the other broker is read again.
func TestTableIsAppliedWithoutADeadBroker(t *testing.T) {
	const down = "broker-b"
	for name, orderly := range map[string]bool{"concurrent": false, "ordered": true} {
		t.Run(name, func(t *testing.T) {
			f := start(t, 1, &embedmq.Options{Brokers: []string{broker, down}})
			gate := newBlocker(f)
			m := f.join(with(consumer.WithConsumerOrder(orderly)), func(m *member) { m.lim.call = 3 * time.Second },
				doing(func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
					if m.Queue.BrokerName == down {
						return gate.wait(ctx)
					}
					return consumer.ConsumeSuccess, nil
				}))
			m.opens(4)
			f.send("beijing", 2, home(0), remoting.Queue{Topic: topic, Broker: down})
			f.eventually("at work", func() bool { return f.journal.running() == 1 && f.journal.succeeded() == 1 })
			require.NoError(t, f.Kill(down))
			gate.release()
			f.eventually("ended", func() bool { return f.journal.running() == 0 })
			f.fence(away)
			f.settled(m)
			f.send("beijing", 3, home(0))
			f.send("shanghai", 1, home(0))
			f.reopen(away)
			f.eventually("read again", func() bool { return f.journal.succeeded() == 6 })
			require.NoError(t, f.Restart(down, embedmq.KeepAll))
			f.exact()
		})
	}
}
