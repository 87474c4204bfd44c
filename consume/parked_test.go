package consume

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/route"
)

// waitingRoom is an engine that is not started, with messages that wait for where the group begins in another unit's queue.
func waitingRoom(t testing.TB, parked int) (e *Engine, home *held) {
	table, err := route.New([]string{unit, other}, map[string][]string{unit: {"beijing"}})
	require.NoError(t, err)
	e, err = New(Config{Unit: unit, Cluster: remoting.NewCluster(nil, nil), Router: newRouter(table), ClientID: "c", Logger: slog.New(slog.DiscardHandler)}, consumer.WithGroupName(group))
	require.NoError(t, err)
	t.Cleanup(e.cancel)
	e.applyTable(table)
	e.tracker.CaughtUp(table.Version)
	home = e.newHeld(remoting.Queue{Topic: topic, Broker: broker}, topicOf{home: topic, sub: &subscription{}}, e.cfg.Now())
	away := e.newHeld(replica, topicOf{home: topic, unit: other, sub: &subscription{}}, e.cfg.Now())
	e.tracker.Apply(broker, filter.Record{Kind: filter.Baseline, Group: group, Queue: origin(home.queue)})
	e.tracker.AcquireHome(home.local, origin(home.queue), nil, 0)
	e.tracker.AcquireReplica(away.local, foreign(), 0)
	for i := range parked {
		m := message("m", "beijing")
		m.Properties[msha.PropertyOrigin], m.QueueOffset = msha.Origin{OriginQueue: foreign(), Offset: int64(i)}.Encode(), int64(i)
		require.False(t, e.decide(e.itemOf(away, m)))
	}
	require.Len(t, e.parked, parked)
	return e, home
}

// pulled brings a message of a queue in and starts it.
func (e *Engine) pulled(t testing.TB, h *held, offset int64) *item {
	m := message("m", "beijing")
	m.QueueOffset = offset
	it := e.itemOf(h, m)
	e.tracker.PulledHome(h.local, origin(h.queue), nil, []filter.Message{it.meta}, offset, offset+1)
	h.window.Add(offset)
	require.True(t, e.decide(it))
	return it
}

// The end of a message has those decided about again that wait for it, and no others.
func TestAFinishedMessageLeavesTheOthersParked(t *testing.T) {
	t.Parallel()
	e, h := waitingRoom(t, 100)
	it := e.pulled(t, h, 0)
	retry := e.newHeld(remoting.Queue{Topic: retryTopic, Broker: broker}, topicOf{}, e.cfg.Now())
	e.subs[topic] = &subscription{}
	open := filter.Record{Kind: filter.Open, Group: group, Set: it.key.Set, Term: it.key.Term, Queue: it.meta.Origin.OriginQueue, Number: "w-1", Writer: "w", LogOffset: 1}
	e.tracker.Apply(broker, open)
	sent := filter.SentOf(open)
	sent.LogOffset = 2
	e.tracker.Apply(broker, sent)
	again := message("m", "beijing")
	again.Properties["RETRY_TOPIC"], again.Properties[msha.PropertyRetry], again.Properties[msha.PropertyOrigin] = topic, "w-1", it.meta.Origin.Encode()
	behind := e.itemOf(retry, again)
	require.False(t, e.decide(behind))
	require.EqualValues(t, 101, e.Stats().Waiting)
	before := slices.Clone(e.parked)
	e.finish(it)
	require.Equal(t, before, e.parked)
	require.Equal(t, []*item{behind}, retry.ready)
	require.EqualValues(t, 100, e.Stats().Waiting)
}

func BenchmarkFinishWhileOthersWait(b *testing.B) {
	e, h := waitingRoom(b, 8000)
	for i := range b.N {
		e.finish(e.pulled(b, h, int64(i)))
		for _, q := range slices.Clone(e.ring) { // what was unparked is decided about again
			for _, it := range q.ready {
				e.decide(it)
			}
			q.ready, q.inRing = nil, false
		}
		e.ring = nil
	}
}
