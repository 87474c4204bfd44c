package manager

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/remoting"
)

// logs are those of unit-1 with the copy of unit-2's, all on one broker, which a manager follows. Each record in them is a baseline of another
// queue, so the queues of which a fold knows one tell what was read.
type logs struct {
	*testing.T
	*embedmq.Cluster
	clock *embedmq.ManualClock
	mq    *remoting.Cluster // of those who write
	log   *unitLog
	out   logtest.Log
}

const logBroker = "broker-a"

var (
	ownLog  = remoting.Queue{Topic: msha.ProgressTopic, Broker: logBroker}
	copyLog = remoting.Queue{Topic: msha.ReplicaTopic(msha.ProgressTopic, "unit-2"), Broker: logBroker}
)

// newLogs writes 0 to 9 to the unit's own log and 100 to 109 to the copy; both are read.
func newLogs(t *testing.T) *logs {
	t.Parallel()
	l := &logs{T: t, clock: embedmq.NewManualClock(time.Time{})}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.out.String())
		}
	})
	var err error
	l.Cluster, err = embedmq.Start(&embedmq.Options{Brokers: []string{logBroker}, Clock: l.clock})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	reach := func() *remoting.Cluster {
		client := remoting.NewClient(&remoting.Options{Logger: l.out.Logger()})
		t.Cleanup(client.Close)
		return remoting.NewCluster([]string{l.NameServer()}, client)
	}
	l.mq = reach()
	for _, q := range []remoting.Queue{ownLog, copyLog} {
		require.NoError(t, l.mq.EnsureTopic(l.ctx(), remoting.TopicConfig{Name: q.Topic, Read: 1, Write: 1}))
	}
	l.write(ownLog, 0, 10)
	l.write(copyLog, 100, 110)
	l.log = newUnitLog("unit-1", reach(), l.out.Logger())
	l.log.settle = 300 * time.Millisecond
	l.reads(numbers(0, 10), numbers(100, 110))
	return l
}

func (l *logs) ctx() context.Context {
	ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
	l.Cleanup(cancel)
	return ctx
}

func numbers(from, to int) (ids []int) {
	for id := from; id < to; id++ {
		ids = append(ids, id)
	}
	return ids
}

func logged(id int) msha.OriginQueue {
	return msha.OriginQueue{Unit: "unit-1", Broker: logBroker, Topic: "SMS", Queue: id}
}

func (l *logs) write(q remoting.Queue, from, to int) {
	l.Helper()
	for _, id := range numbers(from, to) {
		body := filter.EncodeRecords([]filter.Record{{Kind: filter.Baseline, Group: "channel", Queue: logged(id), Offset: 1}})
		_, err := l.mq.Send(l.ctx(), q, "tests", &remoting.Message{Body: body})
		require.NoError(l, err)
	}
}

func known(f *filter.Facts) (ids []int) {
	for _, q := range f.Group("channel").Queues() {
		if _, ok := f.Group("channel").Baseline(q); ok {
			ids = append(ids, q.Queue)
		}
	}
	slices.Sort(ids)
	return ids
}

// reads lets the manager read both folds, and tells whether they hold just these records.
func (l *logs) reads(want ...[]int) {
	l.Helper()
	require.NoError(l, l.log.readLost(l.ctx(), "unit-2", []string{"unit-2"}, func(own, lost *filter.Facts) error {
		require.Equal(l, slices.Concat(want...), known(own))
		require.Equal(l, slices.Concat(want...), known(lost))
		return nil
	}))
}

// connections are those of who writes and of the manager; the channels are closed once they have ended.
func (l *logs) connections() (ends []<-chan struct{}) {
	l.Helper()
	for _, c := range []*remoting.Cluster{l.mq.Pin(), l.log.cluster.Pin()} {
		end, err := c.Dropped(l.ctx(), logBroker)
		require.NoError(l, err)
		ends = append(ends, end)
	}
	return ends
}

// restart has the broker come back, some time later, once everybody has noticed that it went.
func (l *logs) restart(tail embedmq.Tail) {
	l.Helper()
	ends := l.connections()
	require.NoError(l, l.Kill(logBroker))
	for _, end := range ends {
		select {
		case <-end:
		case <-l.ctx().Done():
			require.Fail(l, "the connection lasts")
		}
	}
	l.clock.Advance(time.Second)
	require.NoError(l, l.Restart(logBroker, tail))
}

// end is how long the own log is.
func (l *logs) end() int {
	l.Helper()
	end, err := l.mq.MaxOffset(l.ctx(), ownLog)
	require.NoError(l, err)
	return int(end)
}

// count counts requests of managers from now on.
func (l *logs) count(code int, group string) *embedmq.Injected {
	return l.Inject(embedmq.Fault{Code: code, Match: func(cmd *remoting.Command) bool { return cmd.Ext[group] == logGroup }})
}

const told = "fact log lost its tail"

func TestLogLostItsTail(t *testing.T) {
	for name, more := range map[string]int{"shorter": 0, "still shorter": 2, "as long as it was": 3, "longer": 5} {
		t.Run("own log "+name, func(t *testing.T) {
			l := newLogs(t)
			l.restart(embedmq.LoseTail(3, ownLog.Topic))
			l.write(ownLog, 10, 10+more)
			l.reads(numbers(0, 7), numbers(10, 10+more), numbers(100, 110))
			require.Equal(t, 2, l.out.Count(told), "once for each fold")
			l.write(ownLog, 20, 22)
			l.write(copyLog, 120, 122)
			l.reads(numbers(0, 7), numbers(10, 10+more), numbers(20, 22), numbers(100, 110), numbers(120, 122))
			require.Equal(t, 2, l.out.Count(told))
		})
		t.Run("copy "+name, func(t *testing.T) {
			l := newLogs(t)
			l.restart(embedmq.LoseTail(3, copyLog.Topic))
			l.write(copyLog, 110, 110+more)
			l.reads(numbers(0, 10), numbers(100, 107), numbers(110, 110+more))
			require.Equal(t, 2, l.out.Count(told), "once for each fold")
		})
	}
}

// What was written anew has the same content, in the same place: all that tells it apart is when it was stored.
func TestLogLostItsTailAndGotTheSameRecord(t *testing.T) {
	l := newLogs(t)
	l.restart(embedmq.LoseTail(3, ownLog.Topic))
	l.write(ownLog, 10, 12)
	l.write(ownLog, 9, 10)
	l.reads(numbers(0, 7), numbers(9, 12), numbers(100, 110))
	require.Equal(t, 2, l.out.Count(told))
}

func TestLogIsEmptyAfterALoss(t *testing.T) {
	l := newLogs(t)
	l.restart(embedmq.LoseTail(1000))
	l.reads(nil)
	l.write(ownLog, 10, 11)
	l.write(copyLog, 110, 111)
	l.reads(numbers(10, 11), numbers(110, 111))
	require.Equal(t, 2, l.out.Count(told), "once for each fold, whichever log shows it")
}

// A broker that comes back with everything, or where retention has removed what was read last, has lost nothing: the fold goes on, and knows what has
// expired.
func TestLogLostNothing(t *testing.T) {
	l := newLogs(t)
	facts := l.log.main.facts
	l.restart(embedmq.KeepAll)
	l.write(ownLog, 10, 12)
	l.reads(numbers(0, 12), numbers(100, 110))
	l.write(ownLog, 12, 14)
	require.NoError(t, l.RaiseMinOffset(ownLog, 13))
	l.restart(embedmq.KeepAll)
	l.reads(numbers(0, 12), numbers(13, 14), numbers(100, 110))
	require.NoError(t, l.RaiseMinOffset(ownLog, 20))
	l.restart(embedmq.KeepAll)
	l.reads(numbers(0, 12), numbers(13, 14), numbers(100, 110))
	require.Same(t, facts, l.log.main.facts)
	require.Zero(t, l.out.Count(told))
}

// A broker that was just started may show less than it has for a moment.
func TestLogIsShownBitByBit(t *testing.T) {
	l := newLogs(t)
	l.log.settle = time.Hour
	facts := l.log.main.facts
	l.restart(embedmq.KeepAll)
	hidden := l.Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Error: remoting.RespPullNotFound, Times: 3})
	l.reads(numbers(0, 10), numbers(100, 110))
	require.Equal(t, 3, hidden.Hits())
	require.Same(t, facts, l.log.main.facts)
	require.Zero(t, l.out.Count(told))
}

// Reads lie in the pause of a switch: the look whether a log is what it was costs nothing, also where the connection had ended.
func TestARoundTripForEachLog(t *testing.T) {
	l := newLogs(t)
	pulls, sends := l.count(remoting.ReqPullMessage, "consumerGroup"), l.count(remoting.ReqSendMessageV2, "a")
	read := func(what string) {
		before := pulls.Hits()
		require.NoError(t, l.log.read(l.ctx(), []string{"unit-2"}, func(*filter.Facts) error { return nil }))
		require.Equal(t, 2, pulls.Hits()-before, what)
	}
	read("nothing new")
	l.write(ownLog, 10, 15)
	l.write(copyLog, 110, 115)
	read("something new")
	l.restart(embedmq.KeepAll)
	read("nothing new through another connection")
	l.write(ownLog, 15, 16)
	l.restart(embedmq.KeepAll)
	read("something new through another connection")

	for _, restart := range []bool{false, true} {
		if restart {
			l.restart(embedmq.KeepAll)
		}
		before, sent := pulls.Hits(), sends.Hits()
		require.NoError(t, l.barrier(l.log.main, nil))
		require.Equal(t, 2, pulls.Hits()-before)
		require.Equal(t, 1, sends.Hits()-sent)
	}
}

func (l *logs) barrier(to *fold, f func(*filter.Facts)) error {
	return l.log.barrier(l.ctx(), to, []string{"unit-2"}, 7, "manager@x", func(facts *filter.Facts) error {
		if f != nil {
			f(facts)
		}
		return nil
	})
}

// The broker loses the record behind which everything is read, before it is read. By then others may have filled the log up to there.
func TestBarrierIsLost(t *testing.T) {
	for name, c := range map[string]struct{ lost, more, told int }{
		"alone":                          {1, 0, 0},
		"alone, filled up":               {1, 4, 0},
		"with what was read":             {4, 0, 1},
		"with what was read, shorter":    {4, 2, 1},
		"with what was read, filled up":  {4, 4, 1},
		"with what was read, and longer": {4, 9, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogs(t)
			between := l.Inject(embedmq.Fault{Code: remoting.ReqGetRouteInfoByTopic, Broker: embedmq.NameServer, Delay: time.Minute, Times: 1})
			done := make(chan error, 1)
			var read []int
			go func() { done <- l.barrier(l.log.main, func(f *filter.Facts) { read = known(f) }) }()
			require.NoError(t, between.Wait(l.ctx()))
			require.Equal(t, 11, l.end(), "it is written")
			l.restart(embedmq.LoseTail(c.lost, ownLog.Topic))
			l.write(ownLog, 10, 10+c.more)
			l.clock.Advance(time.Hour)
			require.NoError(t, <-done)
			require.Equal(t, slices.Concat(numbers(0, 11-c.lost), numbers(10, 10+c.more), numbers(100, 110)), read)
			again := l.out.Count("which is written again")
			require.Equal(t, 1+c.told, again, "a new fold has new connections")
			require.Equal(t, 11-c.lost+c.more+again, l.end(), "behind all that was there")
			require.Equal(t, c.told, l.out.Count(told))
		})
	}
}

// The same while a fold is made for one use.
func TestBarrierOfANewFoldIsLost(t *testing.T) {
	l := newLogs(t)
	between := l.Inject(embedmq.Fault{Code: remoting.ReqGetRouteInfoByTopic, Broker: embedmq.NameServer, Delay: time.Minute, Times: 1})
	done := make(chan error, 1)
	var read []int
	go func() { done <- l.barrier(newFold(), func(f *filter.Facts) { read = known(f) }) }()
	require.NoError(t, between.Wait(l.ctx()))
	l.restart(embedmq.LoseTail(2, ownLog.Topic))
	l.clock.Advance(time.Hour)
	require.NoError(t, <-done)
	require.Equal(t, slices.Concat(numbers(0, 9), numbers(100, 110)), read)
	require.Equal(t, 10, l.end())
	require.Zero(t, l.out.Count(told), "it had read nothing yet")
}
