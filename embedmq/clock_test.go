package embedmq_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
)

func manual(t *testing.T) (*embedmq.ManualClock, *fixture) {
	t.Helper()
	clock := embedmq.NewManualClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	return clock, start(t, &embedmq.Options{Clock: clock})
}

func TestManualClock(t *testing.T) {
	begin := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := embedmq.NewManualClock(begin)
	var ran []string
	add := func(what string, d time.Duration) func() bool {
		return clock.AfterFunc(d, func() { ran = append(ran, what+" "+clock.Now().Sub(begin).String()) })
	}
	add("late", 3*time.Second)
	add("early", time.Second)
	stop := add("stopped", time.Second)
	clock.AfterFunc(time.Second, func() { add("nested", time.Second) })
	require.True(t, stop())
	require.False(t, stop())
	clock.Advance(2 * time.Second)
	require.Equal(t, []string{"early 1s", "nested 2s"}, ran)
	clock.Advance(-10 * time.Second)
	require.Equal(t, begin.Add(-8*time.Second), clock.Now())
	clock.Advance(11 * time.Second)
	require.Equal(t, []string{"early 1s", "nested 2s", "late 3s"}, ran)
}

func TestClockDrivesDelayLevels(t *testing.T) {
	clock, f := manual(t)
	q := f.queue("topic")
	send := func(s, level string) {
		_, err := f.mq.Send(f.ctx, q, "producers", &remoting.Message{Body: []byte(s), Properties: map[string]string{"DELAY": level}})
		require.NoError(t, err)
	}
	send("in 10 s", "3")
	send("in 1 s", "1")
	send("in 2 h", "18")
	send("last level counts", "99")
	require.Empty(t, f.bodies(q))
	clock.Advance(time.Second)
	require.Equal(t, []string{"in 1 s"}, f.bodies(q))
	clock.Advance(9 * time.Second)
	require.Equal(t, []string{"in 1 s", "in 10 s"}, f.bodies(q))
	res, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "readers", Offset: 1})
	require.NoError(t, err)
	require.Equal(t, clock.Now().UnixMilli(), res.Messages[0].StoreTimestamp)

	f.kill()
	clock.Advance(2 * time.Hour)
	require.NoError(t, f.Restart(name, embedmq.KeepAll))
	require.Equal(t, []string{"in 1 s", "in 10 s", "in 2 h", "last level counts"}, f.bodies(q), "due while the broker was dead")
}

func TestClockDrivesClientExpiry(t *testing.T) {
	clock, f := manual(t)
	f.heartbeat("g", "one")
	f.told("g")
	clock.Advance(100 * time.Second)
	f.heartbeat("g", "one")
	clock.Advance(100 * time.Second)
	require.Equal(t, []string{"one"}, f.members("g"))
	clock.Advance(30 * time.Second)
	require.Eventually(t, func() bool { // the broker closes the connection, which may hit the question
		ids, err := f.mq.ConsumerIDs(f.ctx, f.BrokerAddr(name), "g")
		return err == nil && len(ids) == 0
	}, 10*time.Second, time.Millisecond)
}

func TestClockDrivesLockExpiry(t *testing.T) {
	clock, f := manual(t)
	q := f.queue("topic")
	lock := func(who string) int {
		got, err := f.mq.Lock(f.ctx, f.BrokerAddr(name), "g", who, []remoting.Queue{q})
		require.NoError(t, err)
		return len(got)
	}
	retry := remoting.Queue{Topic: "%RETRY%g", Broker: name}
	dead := remoting.Queue{Topic: "%DLQ%g", Broker: name}
	require.Equal(t, 1, lock("one"))
	clock.Advance(40 * time.Second)
	require.Equal(t, 1, lock("one"), "renewed")
	clock.Advance(60 * time.Second)
	require.Zero(t, lock("two"))
	require.NoError(t, f.send(retry, "while locked"))
	clock.Advance(time.Millisecond)
	require.NoError(t, f.send(retry, "later"))
	require.Equal(t, 1, lock("two"))
	require.Equal(t, []string{"while locked"}, f.bodies(dead))
	require.Equal(t, []string{"later"}, f.bodies(retry))
	f.kill()
	require.NoError(t, f.Restart(name, embedmq.KeepAll))
	require.Equal(t, 1, lock("one"), "locks do not survive a restart")
}

func TestClockStampsMessages(t *testing.T) {
	clock, f := manual(t)
	q := f.queue("topic")
	begin := clock.Now()
	for i := range 4 {
		f.put(q, i, 1)
		clock.Advance(time.Second)
	}
	for at, want := range map[time.Duration]int64{-time.Hour: 0, 0: 0, time.Millisecond: 1, 2 * time.Second: 2, time.Hour: 4} {
		off, err := f.mq.OffsetByTime(f.ctx, q, begin.Add(at))
		require.NoError(t, err)
		require.Equal(t, want, off, at)
	}
}
