package consume

import (
	"bytes"
	"context"
	"maps"
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

func heldBy(m *member) []remoting.Queue {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.queues))
}

// share waits until the members read the queues of the topic between them, each the given number (the retry queue not counted).
func (f *fixture) share(want map[*member]int) {
	f.Helper()
	f.eventually("queues shared", func() bool {
		seen := map[string]bool{}
		for m, n := range want {
			own := slices.DeleteFunc(m.opened(), func(q string) bool { return q == retryTopic+"/"+broker+"/0" })
			if len(own) != n {
				return false
			}
			for _, q := range own {
				if seen[q] {
					f.Fatalf("%s is read twice", q)
				}
				seen[q] = true
			}
		}
		return true
	})
}

// Members come and go while messages flow and handlers fail: every message once.
func TestMembersComeAndGo(t *testing.T) {
	f := start(t, 4, nil)
	flaky := doing(func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.QueueOffset%5 == 0 && m.ReconsumeTimes == 0 {
			return consumer.ConsumeRetryLater, nil
		}
		pause(ctx, time.Millisecond)
		return consumer.ConsumeSuccess, ctx.Err()
	})
	send := func(n int) { f.send("beijing", n, home(0), home(1), home(2), home(3)) }
	send(60)
	a := f.join(flaky)
	send(60)
	b := f.join(flaky)
	send(60)
	f.share(map[*member]int{a: 2, b: 2})
	send(60)
	c := f.join(flaky)
	send(60)
	f.eventually("the third works", func() bool { return len(c.opened()) > 0 })
	a.leave()
	send(60)
	f.share(map[*member]int{b: 2, c: 2})
	send(60)
	b.leave()
	send(60)
	f.exact()
	require.Equal(t, 4, len(c.opened())-1)
	for _, m := range []*member{a, b, c} {
		require.Positive(t, f.journal.by(m.name), m.name)
	}
}

// A queue that moves while a handler runs is given back afterwards; the next holder starts only then.
func TestQueueMovesAfterItsHandlers(t *testing.T) {
	f := start(t, 2, nil)
	gate := newBlocker(f)
	a := f.join(gate.handler())
	f.send("beijing", 10, home(0), home(1))
	f.eventually("handlers run", func() bool { return f.journal.running() == 10 })
	b := f.join(gate.handler())
	f.eventually("a gives one up", func() bool { return len(a.opened()) < 3 })
	f.eventually("b is told that it is busy", func() bool { return b.freshes.Load() > 0 })
	require.NotContains(t, b.opened(), "SMS/broker-a/0")
	require.NotContains(t, b.opened(), "SMS/broker-a/1")
	f.send("beijing", 10, home(0), home(1))
	require.Zero(t, f.journal.by(b.name))
	gate.release()
	f.share(map[*member]int{a: 1, b: 1})
	f.send("beijing", 10, home(0), home(1))
	f.exact()
	require.Positive(t, f.journal.by(b.name))
}

// One process is killed: nothing is lost, and only what it had running or not yet published may repeat.
func TestMemberKilled(t *testing.T) {
	f := start(t, 3, &embedmq.Options{LockExpiry: time.Hour}) // the others give its locks back
	gate := newBlocker(f)
	victim := f.join(brief, doing(func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if m.GetProperty("stuck") == "" {
			return consumer.ConsumeSuccess, nil
		}
		select {
		case <-gate.open:
		case <-ctx.Done():
		}
		return consumer.ConsumeSuccess, ctx.Err()
	}))
	b, c := f.join(brief), f.join(brief)
	f.share(map[*member]int{victim: 1, b: 1, c: 1})
	all := []string{}
	for round := range 20 {
		all = append(all, f.send("beijing", 3, home(0), home(1), home(2))...)
		if round == 10 {
			f.eventually("first part published", func() bool { return f.journal.succeeded() == len(all) && f.acknowledged(topic) })
			for id := range 3 {
				msg := message("stuck-"+home(id).String(), "beijing")
				msg.Properties["stuck"] = "yes"
				f.expect(string(msg.Body))
				f.put(home(id), msg)
			}
			f.eventually("stuck", func() bool { return f.journal.running() == 1 })
			victim.kill()
		}
	}
	f.share(map[*member]int{b: 2, c: 1})
	f.exact()
	for _, key := range all {
		require.Len(t, f.journal.of(key), 1, "%s was finished and published, or never started", key)
	}
}

// A process that finished work, but was killed before it could publish, repeats exactly that.
func TestKilledBeforePublishing(t *testing.T) {
	f := start(t, 1, &embedmq.Options{LockExpiry: time.Hour})
	victim := f.join(brief)
	first := f.send("beijing", 5, home(0))
	f.eventually("published", func() bool { return f.journal.succeeded() == 5 && f.acknowledged(topic) })
	blocked := f.Inject(embedmq.Fault{Match: appends(filter.Done), Drop: true})
	second := f.send("beijing", 5, home(0))
	f.eventually("processed", func() bool { return f.journal.succeeded() == 10 })
	require.NoError(t, blocked.Wait(f.ctx))
	victim.kill()
	blocked.Remove()
	next := f.join(brief)
	f.eventually("repeated", func() bool { return f.journal.by(next.name) == 5 })
	f.eventually("acknowledged", func() bool { return f.acknowledged(topic) })
	for _, key := range first {
		require.Len(t, f.journal.of(key), 1)
	}
	for _, key := range second {
		require.Len(t, f.journal.of(key), 2)
	}
	require.True(t, f.out.says("waiting for a holder that did not release", victim.name))
}

// everything is a strategy that gives each process all queues.
func everything(_, _ string, all []*primitive.MessageQueue, _ []string) []*primitive.MessageQueue {
	return all
}

// handedOverOnRelease checks that b, which has got a's lock while a's handler runs, reads the queue once a has finished, and not before.
func (f *fixture) handedOverOnRelease(b *member, gate *blocker) {
	f.Helper()
	require.Zero(f, f.journal.by(b.name))
	gate.release()
	f.eventually("b took over", func() bool { return slices.Contains(b.opened(), "SMS/broker-a/0") })
	f.send("beijing", 3, home(0))
	f.exact()
	require.Equal(f, 3, f.journal.by(b.name))
}

// A lock is gone while its holder's handler still runs, as after a restart of the broker: the Hold in the log keeps the next one from
// starting as long as brokers list the holder.
func TestHolderOutlivesItsLock(t *testing.T) {
	f := start(t, 1, nil)
	gate := newBlocker(f)
	a := f.join(brief, gate.handler())
	f.send("beijing", 1, home(0))
	f.eventually("running", func() bool { return f.journal.running() == 1 })
	// Somebody unlocks the queue in the holder's name, and b is quicker than a's next renewal.
	a.locking.take(f.ctx) //nolint:errcheck // no deadline
	b := f.member(brief, with(consumer.WithStrategy(everything)))
	require.NoError(t, f.mq.Unlock(f.ctx, f.BrokerAddr(broker), a.lockGroup(), a.name, heldBy(a)))
	require.NoError(t, b.Subscribe(topic, consumer.MessageSelector{}, b.handle))
	require.NoError(t, b.Start())
	f.eventually("b waits for the release", func() bool { return f.out.says("waiting for a holder that did not release", b.name, a.name, "SMS") })
	a.locking.give()
	f.eventually("a notices", func() bool { return f.out.says("queue lock lost", a.name, "SMS") })
	f.handedOverOnRelease(b, gate)
}

// A process is not listed for a moment, as when its connections broke, while its handler runs. Its queue's lock is given back for it. It is listed
// again before its trust in the lock has passed: the next one waits until it has finished.
func TestHolderThatIsListedAgain(t *testing.T) {
	f := start(t, 1, &embedmq.Options{LockExpiry: time.Hour})
	gate := newBlocker(f)
	trust := func(m *member) { m.lim.trust, m.lim.margin = 4*time.Second, time.Second }
	a := f.join(trust, gate.handler())
	f.send("beijing", 1, home(0))
	f.eventually("running", func() bool { return f.journal.running() == 1 })
	silent := f.Inject(embedmq.Fault{Code: remoting.ReqHeartbeat, Error: remoting.RespSystemBusy, Match: func(cmd *remoting.Command) bool {
		return bytes.Contains(cmd.Body, []byte(`"clientID":"`+a.name+`"`))
	}})
	require.NoError(t, silent.Wait(f.ctx))
	require.NoError(t, f.mq.Unregister(f.ctx, f.BrokerAddr(broker), a.name, group))
	b := f.member(trust, with(consumer.WithStrategy(everything)))
	require.NoError(t, b.Subscribe(topic, consumer.MessageSelector{}, b.handle))
	require.NoError(t, b.Start())
	f.eventually("a notices", func() bool { return f.out.says("queue lock lost", a.name, "SMS") })
	silent.Remove()
	f.eventually("a is listed again", func() bool {
		ids, err := f.mq.ConsumerIDs(f.ctx, f.BrokerAddr(broker), group)
		return err == nil && slices.Contains(ids, a.name)
	})
	f.eventually("b waits for the release", func() bool { return f.out.says("waiting for a holder that did not release", b.name, a.name, "SMS") })
	until := time.Now().Add(6 * time.Second) // a's trust has passed
	f.eventually("b has looked", func() bool { return time.Now().After(until) })
	f.handedOverOnRelease(b, gate)
}

// A Hold is stored behind the Release that was written after it. Its process lives on, and gives the queue back once more.
func TestHoldBehindItsRelease(t *testing.T) {
	f := start(t, 1, &embedmq.Options{LockExpiry: time.Hour})
	nothing := func(_, _ string, _ []*primitive.MessageQueue, _ []string) []*primitive.MessageQueue { return nil }
	a := f.join(brief, with(consumer.WithStrategy(nothing)))
	f.write(factLog(), filter.Record{Kind: filter.Hold, Group: group, Client: a.name, Writer: a.writer, Local: filter.LocalQueue{Topic: topic, Broker: broker}})
	b := f.join(brief, with(consumer.WithStrategy(everything)))
	f.send("beijing", 3, home(0))
	f.exact()
	require.Equal(t, 3, f.journal.by(b.name))
}
