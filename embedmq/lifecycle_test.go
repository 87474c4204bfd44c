package embedmq_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
)

func TestRestartKeepsWhatWasStored(t *testing.T) {
	f := start(t, nil)
	q := f.queue("topic")
	f.group("g")
	f.put(q, 0, 3)
	require.NoError(t, f.mq.Commit(f.ctx, "g", q, 2))
	addr := f.BrokerAddr(name)
	f.kill()
	require.NoError(t, f.Kill(name), "killing a dead broker does nothing")
	_, err := f.mq.Route(f.ctx, "topic")
	require.ErrorIs(t, err, msha.ErrNotFound)
	_, err = f.mq.MaxOffset(f.ctx, q)
	require.Error(t, err)

	require.NoError(t, f.Restart(name, embedmq.KeepAll))
	require.Equal(t, addr, f.BrokerAddr(name))
	require.Equal(t, []string{"m0", "m1", "m2"}, f.bodies(q))
	off, err := f.mq.CommittedOffset(f.ctx, "g", q)
	require.NoError(t, err)
	require.EqualValues(t, 2, off)
	f.put(q, 3, 1)
}

func TestRestartLosesTail(t *testing.T) {
	f := start(t, nil)
	q, other := f.queue("topic"), f.queue("other")
	f.group("g")
	f.put(q, 0, 5)
	f.put(other, 0, 2)
	require.NoError(t, f.mq.Commit(f.ctx, "g", q, 5))
	lost, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "readers", Offset: 4})
	require.NoError(t, err)
	f.kill()
	require.NoError(t, f.Restart(name, embedmq.LoseTail(3, "topic")))
	require.Equal(t, []string{"m0", "m1"}, f.bodies(q))
	require.Equal(t, []string{"m0", "m1"}, f.bodies(other), "a topic that was not named keeps its tail")
	off, err := f.mq.CommittedOffset(f.ctx, "g", q)
	require.NoError(t, err)
	require.EqualValues(t, 5, off, "committed offsets stay, beyond the end as they are now")
	_, err = f.mq.ViewMessage(f.ctx, f.BrokerAddr(name), lost.Messages[0].CommitLogOffset)
	require.Error(t, err)
	f.put(q, 2, 1)
	require.Equal(t, []string{"m0", "m1", "m2"}, f.bodies(q))

	f.kill()
	require.NoError(t, f.Restart(name, embedmq.LoseTail(10)))
	require.Empty(t, f.bodies(q))
	require.Empty(t, f.bodies(other))
}

func TestRestartRefuses(t *testing.T) {
	f := start(t, nil)
	require.ErrorIs(t, f.Restart(name, embedmq.KeepAll), msha.ErrInvalid)
	require.ErrorIs(t, f.Restart("none", embedmq.KeepAll), msha.ErrNotFound)
	require.ErrorIs(t, f.Kill("none"), msha.ErrNotFound)
	require.Empty(t, f.BrokerAddr("none"))
	f.Close()
	require.ErrorIs(t, f.Restart(name, embedmq.KeepAll), msha.ErrClosed, "a closed cluster stays closed")
}

func TestRaiseMinOffset(t *testing.T) {
	f := start(t, nil)
	q := f.queue("topic")
	f.group("g")
	f.put(q, 0, 5)
	first, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "readers", Max: 1})
	require.NoError(t, err)
	require.NoError(t, f.RaiseMinOffset(q, 3))
	require.Equal(t, []string{"m3", "m4"}, f.bodies(q))
	res, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "readers", Offset: 1})
	require.NoError(t, err)
	require.Equal(t, remoting.PullOffsetIllegal, res.Status)
	require.EqualValues(t, 3, res.NextOffset)
	require.EqualValues(t, 3, res.MinOffset)
	_, err = f.mq.ViewMessage(f.ctx, f.BrokerAddr(name), first.Messages[0].CommitLogOffset)
	require.Error(t, err, "an expired message cannot be seen by its id either")
	_, err = f.mq.CommittedOffset(f.ctx, "g", q)
	require.ErrorIs(t, err, msha.ErrNotFound)

	require.NoError(t, f.RaiseMinOffset(q, 2), "lowering does nothing")
	require.NoError(t, f.RaiseMinOffset(q, 9))
	require.Empty(t, f.bodies(q))
	require.EqualValues(t, 9, f.maxOffset(q))
	f.put(q, 9, 1)
	require.ErrorIs(t, f.RaiseMinOffset(remoting.Queue{Topic: "none", Broker: name}, 1), msha.ErrNotFound)
	require.ErrorIs(t, f.RaiseMinOffset(remoting.Queue{Topic: "topic", Broker: "none"}, 1), msha.ErrNotFound)
}

func TestKillAnswersNobody(t *testing.T) {
	f := start(t, nil)
	q := f.queue("topic")
	fault := f.Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Delay: time.Millisecond})
	held := make(chan error, 1)
	go func() {
		_, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "readers", Suspend: 20 * time.Second})
		held <- err
	}()
	require.NoError(t, fault.Wait(f.ctx))
	require.NoError(t, f.Kill(name))
	require.ErrorIs(t, <-held, remoting.ErrDropped)
}

func TestCloseEndsEverything(t *testing.T) {
	f := start(t, &embedmq.Options{Brokers: []string{name, "broker-b"}})
	q := f.queue("topic")
	f.heartbeat("g", "one")
	held := make(chan error, 2)
	for _, suspend := range []time.Duration{0, 20 * time.Second} { // one delayed by a fault, one held by the broker
		fault := f.Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Delay: time.Hour, Times: 1})
		if suspend > 0 {
			fault.Remove()
			fault = f.Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Delay: time.Nanosecond, Times: 1})
		}
		go func() {
			_, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "readers", Suspend: suspend})
			held <- err
		}()
		require.NoError(t, fault.Wait(f.ctx))
	}
	never := f.Inject(embedmq.Fault{Code: remoting.ReqEndTransaction})
	waited := make(chan error, 1)
	go func() { waited <- never.Wait(f.ctx) }()
	f.Close()
	f.Close()
	require.NoError(t, <-waited)
	require.Error(t, <-held)
	require.Error(t, <-held)
	_, err := f.mq.Brokers(f.ctx)
	require.Error(t, err)
}
