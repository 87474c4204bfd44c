package replicate

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

func TestStatsCount(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2", "unit-3")
	sites["unit-1"].createTopic(t, "SMS", 2)
	sites["unit-1"].produce(t, "SMS", 50)
	refused := sites["unit-2"].Inject(embedmq.Fault{Code: remoting.ReqSendBatchMessage, Error: remoting.RespSystemBusy, Times: 2})

	r, err := New("unit-1", store, &Options{Topics: []string{"SMS"}})
	require.NoError(t, err)
	require.Equal(t, Stats{}, r.Stats(), "nothing was done")
	require.False(t, r.Stats().Ready())

	r, stop := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, BatchMessages: 10})
	r.Pause("MAIL")
	syncTopic(t, r, "SMS")
	eventually(t, "it is ready", func() bool { return r.Stats().Ready() })
	s := r.Stats()
	require.EqualValues(t, 100, s.Copied, "to two units")
	require.Greater(t, s.Bytes, int64(2*10*20_000))
	require.GreaterOrEqual(t, s.Batches, int64(10))
	require.EqualValues(t, 2, refused.Hits())
	require.EqualValues(t, 2, s.SendErrors)
	require.GreaterOrEqual(t, s.Interruptions, int64(2))
	require.True(t, s.Sharing)
	require.Equal(t, 1, s.Members)
	require.Equal(t, 2, s.Shares)
	require.Equal(t, 4, s.Queues)
	require.Equal(t, 4, s.Located)
	require.Equal(t, []string{"MAIL"}, s.Paused)
	require.Empty(t, s.Stopped)

	stop()
	s = r.Stats()
	require.False(t, s.Sharing)
	require.Zero(t, s.Shares)
	require.EqualValues(t, 100, s.Copied, "counters stay")
}

func patientOptions() *Options {
	o := fleetOptions()
	patient(o)
	return o
}

func TestStatsOfTwoProcesses(t *testing.T) {
	f := startFleet(t)
	f.sites["unit-1"].produce(t, "SMS", 40)
	one, _ := run(t, "unit-1", f.store, patientOptions())
	eventually(t, "one has everything", func() bool { return one.Stats().Shares == fleetShares && one.Stats().Ready() })
	two, stop := run(t, "unit-1", f.store, patientOptions())
	eventually(t, "they have halves", func() bool {
		a, b := one.Stats(), two.Stats()
		return a.Members == 2 && b.Members == 2 && a.Shares == fleetShares/2 && b.Shares == fleetShares/2 && a.Ready() && b.Ready()
	})
	stop()
	eventually(t, "one has everything again", func() bool { return one.Stats().Shares == fleetShares && one.Stats().Members == 1 })
	eventually(t, "all is copied", func() bool { return one.Stats().Copied+two.Stats().Copied >= 40 })
	require.EqualValues(t, 40, one.Stats().Copied+two.Stats().Copied)
	require.Zero(t, one.Stats().LeaseLosses)
}

func TestStatsOfAStoppedQueue(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	s := sites["unit-1"]
	s.createTopic(t, "SMS", 1)
	s.produce(t, "SMS", 10)
	r, stop := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	stop()
	s.produce(t, "SMS", 20)
	require.NoError(t, s.RaiseMinOffset(remoting.Queue{Topic: "SMS", Broker: "broker-unit-1"}, 15))
	r, _ = run(t, "unit-1", store, nil)
	eventually(t, "the queue stops", func() bool { return len(r.Stats().Stopped) == 1 })
	stopped := r.Stats().Stopped[0]
	require.ErrorIs(t, stopped.Err, msha.ErrGap)
	require.Equal(t, "unit-2", stopped.Target)
	require.Equal(t, "SMS", stopped.Queue.Topic)
	require.True(t, r.Stats().Ready(), "that somebody has to look at a queue is no reason to take the process out of service")
	lags, err := r.Lag(t.Context())
	require.NoError(t, err)
	require.Len(t, lags, 1)
	require.ErrorIs(t, lags[0].Err, msha.ErrGap)
	require.Positive(t, lags[0].Bytes, "what has expired is estimated by what has not")
}

func TestLagInBytesAndAge(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	s := sites["unit-1"]
	s.createTopic(t, "SMS", 1)
	q := remoting.Queue{Topic: "SMS", Broker: "broker-unit-1"}
	send := func(size int) {
		_, err := s.mq.Send(t.Context(), q, "p", &remoting.Message{Body: make([]byte, size), Properties: map[string]string{"UNIQ_KEY": "k"}})
		require.NoError(t, err)
	}
	r, _ := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	look := func() msha.QueueLag {
		lags, err := r.Lag(t.Context())
		require.NoError(t, err)
		require.Len(t, lags, 1)
		return lags[0]
	}
	require.Equal(t, msha.QueueLag{Queue: msha.OriginQueue{Unit: "unit-1", Broker: "broker-unit-1", Topic: "SMS"}, Target: "unit-2"}, look())

	r.Pause("SMS")
	for range 5 {
		send(10_000)
	}
	l := look()
	require.EqualValues(t, 5, l.Messages)
	require.InEpsilon(t, 50_000, l.Bytes, 0.05, "by the oldest that waits")
	rest(t, 2100*time.Millisecond)
	require.GreaterOrEqual(t, look().Age, time.Second)
	require.Less(t, look().Age, 10*time.Minute)
	refused := s.Inject(embedmq.Fault{Code: remoting.ReqGetBrokerRuntimeInfo, Error: remoting.RespNoPermission, Times: 1 << 20})
	require.Less(t, look().Age, time.Second, "without the broker's clock up to the newest message")
	require.Positive(t, refused.Hits())

	r.Resume("SMS")
	syncTopic(t, r, "SMS")
	require.Zero(t, look().Bytes)
	r.Pause("SMS")
	send(10)
	require.InEpsilon(t, 10_000, look().Bytes, 0.05, "by what was copied last")

	unreadable := s.Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Error: remoting.RespSystemError, Times: 1 << 20})
	require.EqualValues(t, msha.Unknown, look().Age)
	require.Positive(t, unreadable.Hits())
	s.Inject(embedmq.Fault{Code: remoting.ReqGetMaxOffset, Error: remoting.RespSystemError, Times: 1 << 20})
	lags, err := r.Lag(t.Context())
	require.Error(t, err)
	require.Empty(t, lags)
}

func TestBrokerTime(t *testing.T) {
	now, ok := brokerTime(map[string]string{"bootTimestamp": "1000000", "runtime": "[ 1 days, 2 hours, 3 minutes, 4 seconds ]"})
	require.True(t, ok)
	require.EqualValues(t, 1000000+(((24+2)*60+3)*60+4)*1000, now)
	d, ok := parseRuntime("[ 1,234 days, 0 hours, 0 minutes, 0 seconds ]")
	require.True(t, ok)
	require.Equal(t, 1234*24*time.Hour, d)
	for _, s := range []string{"", "[ 1 days ]", "[ 1 days, 2 hours, 3 minutes, x seconds ]", "[ 1 days, 2 hours, 3 minutes, 4 minutes ]", "[ 1 d, 2 h, 3 m, 4 s ]"} {
		_, ok := parseRuntime(s)
		require.False(t, ok, s)
	}
	_, ok = brokerTime(map[string]string{"runtime": "[ 1 days, 2 hours, 3 minutes, 4 seconds ]"})
	require.False(t, ok)
}

func TestReadyNeedsEveryShareLookedAt(t *testing.T) {
	gap := StoppedQueue{Err: errors.New("gap")}
	for _, c := range []struct {
		s     Stats
		ready bool
	}{
		{Stats{}, false},
		{Stats{Sharing: true}, true},
		{Stats{Sharing: true, Shares: 1, Behind: 1}, false},
		{Stats{Sharing: true, Shares: 1, Queues: 2, Located: 1}, false},
		{Stats{Sharing: true, Shares: 1, Queues: 2, Located: 1, Stopped: []StoppedQueue{gap}}, true},
		{Stats{Sharing: true, Shares: 1, Queues: 2, Located: 2}, true},
		{Stats{Shares: 1, Queues: 2, Located: 2}, false},
	} {
		require.Equal(t, c.ready, c.s.Ready(), "%+v", c.s)
	}
}
