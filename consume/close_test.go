package consume

import (
	"context"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
)

// Close waits for the running handlers; afterwards everything is published, committed, unlocked and unregistered.
func TestClose(t *testing.T) {
	f := start(t, 2, nil)
	gate := newBlocker(f)
	m := f.join(gate.handler(), with(consumer.WithConsumeGoroutineNums(3)), func(m *member) { m.cfg.PublishEvery = time.Hour })
	m.opens(3)
	f.send("beijing", 10, home(0), home(1))
	f.eventually("busy", func() bool { return f.journal.running() == 3 })
	queues := heldBy(m)
	require.Len(t, queues, 3)
	closed := make(chan error)
	go func() { closed <- m.Close(f.ctx) }()
	f.eventually("closing", func() bool { return len(m.opened()) == 0 })
	require.NoError(t, m.Close(f.ctx), "repeated")
	gate.release()
	require.NoError(t, <-closed)
	require.Equal(t, 3, f.journal.started(), "nothing starts any more")
	require.Equal(t, 3, f.journal.succeeded())
	require.EqualValues(t, 3, f.committed(home(0))+f.committed(home(1)))
	require.Equal(t, 3, f.count(filter.Release))
	ids, err := f.mq.ConsumerIDs(f.ctx, f.BrokerAddr(broker), group)
	require.NoError(t, err)
	require.Empty(t, ids)
	free, err := f.mq.Lock(f.ctx, f.BrokerAddr(broker), m.lockGroup(), "somebody", queues)
	require.NoError(t, err)
	require.ElementsMatch(t, queues, free)
	require.NoError(t, f.mq.Unlock(f.ctx, f.BrokerAddr(broker), m.lockGroup(), "somebody", queues))
	require.NoError(t, m.Shutdown())
	require.ErrorIs(t, m.Start(), msha.ErrClosed)
	f.join()
	f.exact()
}

// A handler that does not end keeps its own queue and no other: Close returns by the context's end and names it; another member takes
// the rest at once, and the hung queue when its lock cannot be trusted any more.
func TestCloseWithAHungHandler(t *testing.T) {
	f := start(t, 2, &embedmq.Options{LockExpiry: lockExpiry})
	gate := newBlocker(f)
	m := f.join(brief, doing(func(_ context.Context, msg *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if msg.GetKeys() == "stuck" {
			<-gate.open // whatever its context says
		}
		return consumer.ConsumeSuccess, nil
	}))
	f.send("beijing", 10, home(0), home(1))
	f.exact()
	f.put(home(0), message("stuck", "beijing"))
	f.expect("stuck")
	f.eventually("stuck", func() bool { return f.journal.running() == 1 })
	ctx, cancel := context.WithTimeout(f.ctx, 200*time.Millisecond)
	defer cancel()
	m.gone = true
	err := m.Close(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "SMS/broker-a/0 (1)")
	require.NotContains(t, err.Error(), "SMS/broker-a/1")
	require.Equal(t, 2, f.count(filter.Release), "the other queue and the retry queue")

	b := f.join(brief)
	b.opens(2)
	require.NotContains(t, b.opened(), "SMS/broker-a/0/0")
	f.send("beijing", 5, home(1))
	f.eventually("the rest goes on", func() bool { return f.journal.by(b.name) == 5 })
	b.opens(3)
	f.send("beijing", 5, home(0))
	f.eventually("the hung queue's too", func() bool { return f.journal.by(b.name) == 11 && f.acknowledged(topic) })
	require.Empty(t, f.journal.wrong(f.keys()), "the hung handler has not finished, so its message ran again")
	gate.release()
	m.wg.Wait()
	require.Len(t, f.journal.of("stuck"), 2)
}

// The brokers are gone: Close does not wait for them for ever.
func TestCloseWithoutBrokers(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	f.send("beijing", 5, home(0))
	f.exact()
	require.NoError(t, f.Kill(broker))
	m.gone = true
	require.Error(t, m.Close(f.ctx))
	m.wg.Wait()
	f.restart(broker, embedmq.KeepAll)
	again := f.join(brief) // the log says that the queues are held
	f.send("beijing", 5, home(0))
	f.exact()
	require.Equal(t, 5, f.journal.by(again.name))
}
