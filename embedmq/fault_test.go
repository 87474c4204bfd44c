package embedmq_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
)

func (f *fixture) send(q remoting.Queue, s string) error {
	_, err := f.mq.Send(f.ctx, q, "producers", body(s))
	return err
}

// unanswered sends what the fault drops, and stops waiting for an answer once it has.
func (f *fixture) unanswered(fault *embedmq.Injected, q remoting.Queue, s string) {
	f.Helper()
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	before, done := fault.Hits(), make(chan struct{})
	go func() {
		defer close(done)
		for fault.Hits() == before && f.ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := f.mq.Send(ctx, q, "producers", body(s))
	<-done
	require.ErrorIs(f, err, context.Canceled)
}

func TestFaultDelayFollowsTheClock(t *testing.T) {
	clock := embedmq.NewManualClock(time.Time{})
	f := start(t, &embedmq.Options{Clock: clock})
	q := f.queue("topic")
	fault := f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, Delay: time.Minute, Times: 1})
	sent := make(chan error, 1)
	go func() {
		_, err := f.mq.Send(f.ctx, q, "producers", body("late"))
		sent <- err
	}()
	require.NoError(t, fault.Wait(f.ctx))
	clock.Advance(time.Minute - 1)
	require.Empty(t, f.bodies(q))
	select {
	case err := <-sent:
		t.Fatalf("answered before its time: %v", err)
	default:
	}
	clock.Advance(1)
	require.NoError(t, <-sent)
	require.Equal(t, []string{"late"}, f.bodies(q))
}

func TestFaultDrop(t *testing.T) {
	f := start(t, nil)
	q := f.queue("topic")
	fault := f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, Drop: true, Times: 2})
	f.unanswered(fault, q, "a")
	require.Equal(t, 1, fault.Hits())
	f.unanswered(fault, q, "b")
	require.NoError(t, fault.Wait(f.ctx))
	require.NoError(t, f.send(q, "c"), "spent after two")
	require.Equal(t, 2, fault.Hits())
	require.Equal(t, []string{"c"}, f.bodies(q))
}

func TestFaultError(t *testing.T) {
	f := start(t, nil)
	q := f.queue("topic")
	fault := f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, Error: remoting.RespSystemBusy})
	var be *remoting.BrokerError
	for range 3 {
		require.ErrorAs(t, f.send(q, "a"), &be)
		require.Equal(t, remoting.RespSystemBusy, be.Code)
	}
	require.Equal(t, 3, fault.Hits())
	fault.Remove()
	fault.Remove()
	require.NoError(t, f.send(q, "b"))
	require.Equal(t, []string{"b"}, f.bodies(q))
}

func TestFaultStoredButTimedOut(t *testing.T) {
	f := start(t, nil)
	q := f.queue("topic")
	f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, StoredButTimedOut: true, Times: 1})
	res, err := f.mq.Send(f.ctx, q, "producers", body("a"))
	require.ErrorIs(t, err, remoting.ErrStored)
	require.NotNil(t, res)
	require.Zero(t, res.QueueOffset)
	dropped := f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, StoredButTimedOut: true, Drop: true, Times: 1})
	f.unanswered(dropped, q, "b")
	require.Eventually(t, func() bool { return len(f.bodies(q)) == 2 }, time.Minute, time.Millisecond, "it is stored all the same")
	require.Equal(t, []string{"a", "b"}, f.bodies(q))
	f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, StoredButTimedOut: true, Times: 1})
	q.ID = 7
	_, err = f.mq.Send(f.ctx, q, "producers", body("c"))
	require.Error(t, err)
	require.NotErrorIs(t, err, remoting.ErrStored, "what was refused was not stored")
}

func TestFaultChoosesItsRequests(t *testing.T) {
	f := start(t, &embedmq.Options{Brokers: []string{name, "broker-b"}})
	q := f.queue("topic")
	matched := f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, Error: remoting.RespSystemBusy, Match: func(c *remoting.Command) bool {
		return string(c.Body) == "hit"
	}})
	elsewhere := f.Inject(embedmq.Fault{Broker: "broker-b", Error: remoting.RespSystemBusy})
	first := f.Inject(embedmq.Fault{Broker: name, Code: remoting.ReqGetMaxOffset, Error: remoting.RespNoPermission, Times: 1})
	second := f.Inject(embedmq.Fault{Broker: name, Code: remoting.ReqGetMaxOffset, Error: remoting.RespSystemBusy, Times: 1})
	require.NoError(t, f.send(q, "miss"))
	require.Error(t, f.send(q, "hit"))
	require.Equal(t, 1, matched.Hits())
	require.Zero(t, elsewhere.Hits())
	for _, want := range []int{remoting.RespNoPermission, remoting.RespSystemBusy} {
		_, err := f.mq.MaxOffset(f.ctx, q)
		var be *remoting.BrokerError
		require.ErrorAs(t, err, &be)
		require.Equal(t, want, be.Code, "the first one injected counts")
	}
	require.Equal(t, 1, first.Hits())
	require.Equal(t, 1, second.Hits())
	f.Inject(embedmq.Fault{Broker: embedmq.NameServer, Error: remoting.RespTopicNotExist, Times: 1})
	_, err := f.mq.Route(f.ctx, "topic")
	require.ErrorIs(t, err, msha.ErrNotFound)
	_, err = f.mq.Route(f.ctx, "topic")
	require.NoError(t, err)
}

func TestFaultWaitEndsWithItsContext(t *testing.T) {
	f := start(t, nil)
	ctx, cancel := context.WithCancelCause(f.ctx)
	cancel(errors.New("enough"))
	require.ErrorIs(t, f.Inject(embedmq.Fault{}).Wait(ctx), context.Canceled)
}
