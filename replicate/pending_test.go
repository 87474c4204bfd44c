package replicate

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

// sendDelayed stores n messages that wait for the time of a delay level.
func sendDelayed(t *testing.T, mq *remoting.Cluster, q remoting.Queue, n int, level string) {
	t.Helper()
	for range n {
		_, err := mq.Send(t.Context(), q, "p", &remoting.Message{Body: []byte("later"), Properties: map[string]string{"DELAY": level}})
		require.NoError(t, err)
	}
}

// sendHalf stores n half messages and returns where.
func sendHalf(t *testing.T, mq *remoting.Cluster, q remoting.Queue, n int) (stored []*remoting.SendResult) {
	t.Helper()
	for i := range n {
		res, err := mq.Send(t.Context(), q, "tx", &remoting.Message{Body: []byte("perhaps"), SysFlag: remoting.SysTransPrepared, Properties: map[string]string{
			"TRAN_MSG": "true", "PGROUP": "tx", "UNIQ_KEY": fmt.Sprintf("half-%d", i),
		}})
		require.NoError(t, err)
		stored = append(stored, res)
	}
	return stored
}

// endTransaction commits or rolls back.
func endTransaction(t *testing.T, addr string, half *remoting.SendResult, how int) {
	t.Helper()
	client := remoting.NewClient(nil)
	defer client.Close()
	_, phys, err := remoting.ParseMessageID(half.OffsetMsgID)
	require.NoError(t, err)
	resp, err := client.Call(t.Context(), addr, remoting.NewRequest(remoting.ReqEndTransaction, map[string]string{
		"producerGroup": "tx", "tranStateTableOffset": strconv.FormatInt(half.QueueOffset, 10), "commitLogOffset": strconv.FormatInt(phys, 10),
		"commitOrRollback": strconv.Itoa(how), "fromTransactionCheck": "false", "msgId": "m", "transactionId": "m",
	}, nil))
	require.NoError(t, err)
	require.Zero(t, resp.Code, resp.Remark)
}

func pendingOf(t *testing.T, r *Replicator) msha.PendingMessages {
	t.Helper()
	all, err := r.Pending(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	return all[0]
}

func TestPendingDelayedAndHalfMessages(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	s, broker := sites["unit-1"], "broker-unit-1"
	s.createTopic(t, "SMS", 2)
	q := remoting.Queue{Topic: "SMS", Broker: broker, ID: 1}
	r, err := New("unit-1", store, nil)
	require.NoError(t, err)
	_, err = r.Pending(t.Context())
	require.ErrorIs(t, err, msha.ErrNotFound, "it needs Run")

	r, stop := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	want := msha.PendingMessages{Unit: "unit-1", Broker: broker}
	require.Equal(t, want, pendingOf(t, r))

	sendDelayed(t, s.mq, q, 10, "18")
	sendDelayed(t, s.mq, q, 3, "17")
	want.Delayed = 13
	require.Equal(t, want, pendingOf(t, r))
	halves := sendHalf(t, s.mq, q, 7)
	want.Half = 7
	require.Equal(t, want, pendingOf(t, r))
	endTransaction(t, s.BrokerAddr(broker), halves[2], remoting.SysTransCommit)
	endTransaction(t, s.BrokerAddr(broker), halves[0], remoting.SysTransRollback)
	want.Half = 5
	require.Equal(t, want, pendingOf(t, r))

	sendDelayed(t, s.mq, q, 2, "3")
	want.Delayed = 15
	require.Equal(t, want, pendingOf(t, r))
	eventually(t, "ten seconds pass and two are delivered", func() bool { return pendingOf(t, r).Delayed == 13 })
	require.EqualValues(t, 3, s.end(t, q), "one committed, two delivered")
	syncTopic(t, r, "SMS")
	stop()
	_, err = r.Pending(t.Context())
	require.ErrorIs(t, err, msha.ErrNotFound)
}

func TestPendingIsUnknownNotZero(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	s := sites["unit-1"]
	s.createTopic(t, "SMS", 1)
	r, _ := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	sendHalf(t, s.mq, remoting.Queue{Topic: "SMS", Broker: "broker-unit-1"}, 1)

	s.Inject(embedmq.Fault{Code: remoting.ReqGetBrokerRuntimeInfo, Error: remoting.RespNoPermission, Times: 1})
	p := pendingOf(t, r)
	require.EqualValues(t, msha.Unknown, p.Delayed)
	require.EqualValues(t, 1, p.Half, "what can be told is told")
	require.ErrorIs(t, p.Err, msha.ErrDenied)
	s.Inject(embedmq.Fault{Code: remoting.ReqQueryConsumerOffset, Error: remoting.RespNoPermission, Times: 1})
	p = pendingOf(t, r)
	require.Zero(t, p.Delayed)
	require.EqualValues(t, msha.Unknown, p.Half)
	require.ErrorIs(t, p.Err, msha.ErrDenied)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Pending(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestTimerMessages(t *testing.T) {
	n, err := timerMessages(map[string]string{"brokerVersionDesc": "V4_9_7"}, "b")
	require.NoError(t, err)
	require.Zero(t, n, "there is no timer")
	n, err = timerMessages(map[string]string{"brokerVersionDesc": "V5_4_0", "timerCongestNum": "7", "timerOffsetBehind": "2"}, "b")
	require.NoError(t, err)
	require.EqualValues(t, 9, n)
	for _, info := range []map[string]string{{}, {"brokerVersionDesc": "V5_0_0"}, {"timerCongestNum": "7"}, {"timerCongestNum": "7", "timerOffsetBehind": "?"}} {
		_, err = timerMessages(info, "b")
		require.ErrorIs(t, err, msha.ErrNotFound)
	}
}
