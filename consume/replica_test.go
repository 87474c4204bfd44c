package consume

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

var (
	replicaTopic = msha.ReplicaTopic(topic, other)
	replica      = remoting.Queue{Topic: replicaTopic, Broker: broker}
	copyOfLog    = remoting.Queue{Topic: msha.ReplicaTopic(msha.ProgressTopic, other), Broker: broker}
)

// foreign is the other unit's queue.
func foreign() msha.OriginQueue {
	return msha.OriginQueue{Unit: other, Broker: "broker-b", Topic: topic, Queue: 0}
}

// both subscribes the other unit's copies too.
func both(m *member) { m.cfg.OtherUnits = func() []string { return []string{other} } }

// copied stores copies of n messages of the other unit, from an origin offset on, and expects them.
func copied(f *fixture, q remoting.Queue, value string, from int64, n int) (keys []string) {
	f.Helper()
	for i := range int64(n) {
		o := msha.Origin{OriginQueue: foreign(), Offset: from + i}
		key := fmt.Sprintf("%s-%s-%d", other, value, o.Offset)
		m := message(key, value)
		m.Properties[msha.PropertyUnit], m.Properties[msha.PropertyOrigin] = other, o.Encode()
		f.put(q, m)
		keys = append(keys, key)
	}
	f.expect(keys...)
	return keys
}

// copies makes the topics for copies from unit-2: of messages, and of its log, by which the group begins with all of them.
func (f *fixture) copies() {
	f.Helper()
	f.topic(replicaTopic, 1)
	f.topic(copyOfLog.Topic, 1)
	f.foreignBaseline(0)
}

func (f *fixture) foreignBaseline(offset int64) {
	f.Helper()
	f.write(copyOfLog, filter.Record{Kind: filter.Baseline, Group: group, Queue: foreign(), Offset: offset})
}

// Copies are presented under the home topic's name, once their origin's Baseline is read; those below it are not for this group.
func TestReplicaWaitsForItsBaseline(t *testing.T) {
	f := start(t, 1, nil)
	f.topic(replicaTopic, 1)
	m := f.join(both, func(m *member) { m.lim.begin = 100 * time.Millisecond })
	m.opens(3)
	for i := range int64(2) {
		msg := message(fmt.Sprintf("before-%d", i), "beijing")
		msg.Properties[msha.PropertyUnit], msg.Properties[msha.PropertyOrigin] = other, msha.Origin{OriginQueue: foreign(), Offset: 5 + i}.Encode()
		f.put(replica, msg)
	}
	copied(f, replica, "beijing", 7, 4)
	f.send("beijing", 3, home(0))
	f.eventually("home processed", func() bool { return f.journal.succeeded() == 3 })
	f.eventually("copies read", func() bool { return m.GetOffsetDiffMap()[topic] == 6 })
	require.Equal(t, 3, f.journal.started())
	f.eventually("reported", func() bool {
		return f.out.says("messages wait", foreign().String(), "POST /provision?unit="+other+"&group="+group)
	})
	require.EqualValues(t, 6, m.Stats().Waiting)
	f.foreignBaseline(7)
	f.eventually("acknowledged", func() bool { return f.journal.succeeded() == 7 && f.acknowledged(topic, replicaTopic) })
	require.Empty(t, f.journal.wrong(f.keys()))
	require.Zero(t, m.Stats().Waiting)
	for _, r := range f.journal.all() {
		require.Equal(t, topic, r.topic)
	}
	require.Equal(t, "[5,11)", f.facts().Done(filter.Key{Set: other, Term: 1}, foreign()).Union(filter.Range(5, 11)).String(), "origin offsets")
}

// A killed replicator stores a batch twice: each origin runs once. A message without origin is nobody's.
func TestReplicaRepeatsAndStrays(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	m := f.join(both, failing(1))
	keys := copied(f, replica, "beijing", 0, 5)
	f.put(replica, message("stray", "beijing"))
	copied(f, replica, "beijing", 3, 4)
	f.mu.Lock()
	f.sent = append(keys, f.sent[len(f.sent)-2:]...)
	f.mu.Unlock()
	f.eventually("processed", func() bool { return f.journal.succeeded() == 7 })
	f.eventually("acknowledged", func() bool { return f.acknowledged(replicaTopic) })
	require.Empty(t, f.journal.wrong(f.keys()))
	require.True(t, f.out.says("without origin ignored", replicaTopic, "offset=5"))
	require.EqualValues(t, 2, m.Stats().Skipped)

	m.leave()
	copied(f, replica, "beijing", 0, 7) // the whole batch once more, for the next process
	f.mu.Lock()
	f.sent = f.sent[:7]
	f.mu.Unlock()
	f.join(both)
	f.eventually("acknowledged", func() bool { return f.acknowledged(replicaTopic) })
	require.Empty(t, f.journal.wrong(f.keys()))
}

// A message without origin is the last one that was read of a replica queue: the next process finds its place by the copies before it.
func TestReplicaOpensBehindAStray(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	m := f.join(both)
	keys := copied(f, replica, "beijing", 0, 3)
	f.put(replica, message("stray", "beijing"), message("stray", "beijing"))
	f.eventually("acknowledged", func() bool { return f.journal.succeeded() == 3 && f.committed(replica) == 5 })
	m.leave()
	keys = append(keys, copied(f, replica, "beijing", 3, 2)...)
	f.join(both)
	f.eventually("acknowledged", func() bool { return f.journal.succeeded() == 5 && f.acknowledged(replicaTopic) })
	require.Empty(t, f.journal.wrong(keys))
}

// Messages of other routes in a replica queue are covered, retention overrun is reported by origin offset.
func TestReplicaExpired(t *testing.T) {
	f := start(t, 1, nil)
	f.topic(replicaTopic, 1)
	f.topic(copyOfLog.Topic, 1)
	f.foreignBaseline(100)
	m := f.join(both)
	copied(f, replica, "beijing", 100, 4)
	f.eventually("acknowledged", func() bool { return f.journal.succeeded() == 4 && f.acknowledged(replicaTopic) })
	m.leave()
	lost := copied(f, replica, "beijing", 104, 3)
	copied(f, replica, "beijing", 107, 2)
	require.NoError(t, f.RaiseMinOffset(replica, 7))
	f.mu.Lock()
	f.sent = append(f.sent[:4:4], f.sent[7:]...)
	f.mu.Unlock()
	m = f.join(both)
	f.eventually("acknowledged", func() bool { return f.journal.succeeded() == 6 && f.acknowledged(replicaTopic) })
	f.eventually("reported", func() bool { return m.Stats().Expired > 0 })
	require.EqualValues(t, len(lost), m.Stats().Expired)
	require.True(t, f.out.says("expired", replicaTopic, "from=104", "to=106"))
	require.Empty(t, f.journal.wrong(f.keys()))
}

// A replica queue that appears late, with messages in it, is read from its start.
func TestReplicaTopicAppearsLate(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join(both)
	m.opens(2)
	f.topic(replicaTopic, 1)
	copied(f, replica, "beijing", 0, 3)
	f.topic(copyOfLog.Topic, 1)
	f.foreignBaseline(0)
	f.eventually("processed", func() bool { return f.journal.succeeded() == 3 && f.acknowledged(replicaTopic) })
	require.Empty(t, f.journal.wrong(f.keys()))
}
