package consume

import (
	"context"
	"slices"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/route"
)

// moves is a switch of one value.
func moves(id, value, set, from, to string, term uint64) *msha.Plan {
	return &msha.Plan{ID: id, Moves: []msha.Move{{Set: set, NewSet: value, Values: []string{value}, From: from, To: to, Term: term, Whole: set == value}}}
}

var away = moves("task-1", "beijing", unit, unit, other, 1)

func (f *fixture) fence(p *msha.Plan) {
	f.Helper()
	t, err := route.Fence(f.router.Table(), p)
	require.NoError(f, err)
	f.router.set(t)
}

func (f *fixture) reopen(p *msha.Plan) {
	f.Helper()
	t, err := route.Reopen(f.router.Table(), p.ID)
	require.NoError(f, err)
	f.router.set(t)
}

func (f *fixture) commitMove(p *msha.Plan, hash string) {
	f.Helper()
	t, err := route.Commit(f.router.Table(), p, map[string]string{p.Moves[0].NewSet: hash})
	require.NoError(f, err)
	f.router.set(t)
}

// acks lists the log's acknowledgements of a version, and where they are.
func (f *fixture) acks(version uint64) (at []int64) {
	f.Helper()
	for _, r := range f.records(broker) {
		if r.Kind == filter.Ack && r.Version == version {
			at = append(at, r.LogOffset)
		}
	}
	return at
}

// acked waits until n members acknowledged the table.
func (f *fixture) acked(n int) {
	f.Helper()
	f.eventually("acknowledged", func() bool { return len(f.acks(f.router.Table().Version)) >= n })
}

func (f *fixture) settled(m *member) {
	f.Helper()
	f.eventually("table applied", func() bool { return m.currentTable().Version == f.router.Table().Version })
	f.acked(1)
}

// With the fence nothing of its routes starts; the others go on. Reopening brings what was skipped.
func TestFenceAndReopen(t *testing.T) {
	f := start(t, 2, nil)
	m := f.join()
	f.send("beijing", 10, home(0), home(1))
	f.exact()
	f.fence(away)
	f.settled(m)
	ran := f.journal.started()
	skipped := f.send("beijing", 20, home(0), home(1))
	others := f.send("shanghai", 20, home(0), home(1))
	f.eventually("others processed", func() bool {
		return f.journal.succeeded() == ran+len(others) && f.committed(home(0))+f.committed(home(1)) == 50
	})
	for _, key := range skipped {
		require.Empty(t, f.journal.of(key))
	}
	require.GreaterOrEqual(t, m.Stats().Skipped, int64(20)) // the fenced part shares its facts with the rest, whose re-scans meet it again
	require.True(t, f.out.says("Process MSHA route switch: task=task-1, phase=2"))
	f.reopen(away)
	f.exact()
	require.GreaterOrEqual(t, m.Stats().Reread, int64(20))
	require.False(t, f.out.says("Complete process MSHA route switch"))
}

// Ack comes after the running handlers of the fenced routes, with their Done before it in the log; it does not wait for other routes.
func TestAckFollowsDone(t *testing.T) {
	f := start(t, 1, nil)
	gate, elsewhere := newBlocker(f), newBlocker(f)
	f.join(doing(func(ctx context.Context, m *primitive.MessageExt) (consumer.ConsumeResult, error) {
		b := gate
		if m.GetProperty(msha.PropertyRoute) == "shanghai" {
			b = elsewhere
		}
		select {
		case <-b.open:
		case <-ctx.Done():
		}
		return consumer.ConsumeSuccess, ctx.Err()
	}), func(m *member) { m.cfg.PublishEvery = 1e12 }) // only what the protocol itself publishes
	f.send("beijing", 5, home(0))
	f.send("shanghai", 2, home(0))
	f.eventually("running", func() bool { return f.journal.running() == 7 })
	f.fence(away)
	f.eventually("fence announced", func() bool { return f.out.says("phase=2") })
	f.send("shanghai", 3, home(0))
	f.eventually("new ones of the other route start", func() bool { return f.journal.running() == 10 })
	require.Empty(t, f.acks(f.router.Table().Version))
	gate.release()
	f.acked(1)
	ack := f.acks(f.router.Table().Version)[0]
	var done filter.Offsets
	for _, r := range f.records(broker) {
		if r.Kind == filter.Done && r.Set == unit && r.Term == 1 && r.LogOffset < ack {
			done = done.Union(r.Spans)
		}
	}
	require.Equal(t, "[0,5)", done.String())
	elsewhere.release()
	f.reopen(away)
	f.eventually("all processed", func() bool { return f.journal.succeeded() == 10 })
	require.Empty(t, f.journal.wrong(f.keys()))
}

// The log cannot be written for a while: no Ack without the facts before it.
func TestAckWaitsForFacts(t *testing.T) {
	f := start(t, 1, nil)
	f.join()
	f.send("beijing", 5, home(0))
	f.exact()
	fault := f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, Match: appends(filter.Done), Error: remoting.RespSystemBusy, Times: 4})
	f.send("beijing", 5, home(0))
	f.eventually("processed", func() bool { return f.journal.succeeded() == 10 })
	f.fence(away)
	f.acked(1)
	require.Equal(t, 4, fault.Hits())
	ack := f.acks(f.router.Table().Version)[0]
	facts := filter.NewFacts()
	for _, r := range f.records(broker) {
		if r.LogOffset < ack {
			facts.Apply(broker, r)
		}
	}
	require.Equal(t, "[0,10)", facts.Group(group).Done(filter.Key{Set: unit, Term: 1}, origin(home(0))).String())
}

// A retry copy that comes due behind the fence is closed, not kept; after the reopening its message is read again.
func TestRetryDueBehindTheFence(t *testing.T) {
	f := start(t, 1, nil)
	retry := remoting.Queue{Topic: retryTopic, Broker: broker}
	hold := f.Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Match: func(cmd *remoting.Command) bool {
		return cmd.Ext["topic"] == retryTopic && cmd.Ext["consumerGroup"] == group
	}, Error: remoting.RespSystemBusy})
	m := f.join(doing(func(_ context.Context, msg *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if len(f.journal.of(msg.GetKeys())) == 1 {
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	}))
	m.opens(2)
	f.send("beijing", 3, home(0))
	f.send("shanghai", 3, home(0))
	f.eventually("failed", func() bool { return f.count(filter.Sent) == 6 })
	f.fence(away)
	f.settled(m)
	hold.Remove()
	f.eventually("copies due", func() bool { return f.committed(retry) >= 3 && f.count(filter.Close) == 3 })
	f.eventually("others processed", func() bool { return f.journal.succeeded() == 3 })
	require.EqualValues(t, 3, m.Stats().Refused)
	f.reopen(away)
	f.exact()
	require.GreaterOrEqual(t, m.Stats().Reread, int64(3)) // while fenced they are met too, see above
}

// Once the routes are committed to another unit nothing of them starts here any more.
func TestCommitAway(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	f.send("beijing", 5, home(0))
	f.exact()
	f.fence(away)
	f.skip("beijing", 5, home(0))
	f.settled(m)
	f.commitMove(away, "hash")
	f.settled(m)
	f.skip("beijing", 5, home(0))
	f.send("shanghai", 5, home(0))
	f.exact()
	require.GreaterOrEqual(t, m.Stats().Skipped, int64(10))
	require.True(t, f.out.says("Process MSHA route switch: task=task-1, phase=7"))
	f.eventually("report", func() bool { return f.out.says("Complete process MSHA route switch: task=task-1") })
}

// handOver writes what the term that follows a plan's move has to process.
func handOver(f *fixture, p *msha.Plan, hash string, spans map[msha.OriginQueue]filter.Offsets) []filter.Record {
	m := p.Moves[0]
	rs := []filter.Record{{Kind: filter.Baseline, Set: m.NewSet, Term: m.Term + 1, Hash: hash, Chunks: len(spans) + 1}}
	for q, s := range spans {
		rs = append(rs, filter.Record{Kind: filter.Baseline, Group: group, Set: m.NewSet, Term: m.Term + 1, Queue: q, Spans: s, Hash: hash})
	}
	return rs
}

// A value comes to this unit with a hand-over: exactly what remains is processed, in home and replica queues, from what was read long
// ago and from what comes.
func TestCommitToThisUnit(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	m := f.join(both)
	homes, copies := f.send("guangzhou", 10, home(0)), copied(f, replica, "guangzhou", 0, 10)
	f.eventually("all skipped", func() bool { return m.Stats().Skipped == 20 && f.acknowledged(topic, replicaTopic) })
	in := moves("task-2", "guangzhou", other, other, unit, 1)
	f.fence(in)
	f.settled(m)
	rs := handOver(f, in, "hash", map[msha.OriginQueue]filter.Offsets{
		origin(home(0)): filter.Range(2, 4).Union(filter.From(9)), foreign(): filter.Range(0, 1).Union(filter.From(5)),
	})
	f.write(factLog(), rs[:2]...) // not complete yet
	f.commitMove(in, "hash")
	f.settled(m)
	require.Zero(t, f.journal.started())
	f.write(factLog(), rs[2:]...)
	late := append(f.send("guangzhou", 2, home(0)), copied(f, replica, "guangzhou", 10, 2)...)
	want := slices.Concat(homes[2:4], homes[9:], copies[:1], copies[5:], late)
	f.eventually("remaining processed", func() bool { return f.journal.succeeded() == len(want) && f.acknowledged(topic, replicaTopic) })
	require.Empty(t, f.journal.wrong(want))
	for _, r := range f.journal.all() {
		require.Equal(t, "guangzhou", r.set)
		require.EqualValues(t, 2, r.term, "the fencing token of the new term")
	}

	m.leave()
	again := f.join(both)
	last := f.send("guangzhou", 1, home(0))
	f.eventually("next process goes on", func() bool { return f.journal.by(again.name) == 1 && f.acknowledged(topic, replicaTopic) })
	require.Empty(t, f.journal.wrong(append(want, last...)))
}

// The log lost the hand-over: nothing starts, and it is reported.
func TestHandOverMissing(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	in := moves("task-2", "guangzhou", other, other, unit, 1)
	f.fence(in)
	f.commitMove(in, "hash")
	f.settled(m)
	f.skip("guangzhou", 3, home(0))
	f.send("beijing", 3, home(0))
	f.eventually("report", func() bool {
		return f.out.says("does not hold what its route's term began with", "guangzhou#2", msha.ErrMissingFacts.Error())
	})
	f.eventually("the other route goes on", func() bool { return f.journal.succeeded() == 3 })
	require.Empty(t, f.journal.wrong(f.keys()))
	require.LessOrEqual(t, f.committed(home(0)), int64(0), "not acknowledged")
}

// Away and back while messages arrive and handlers fail, two members: each message runs once over the chain of terms.
func TestAwayAndBack(t *testing.T) {
	f := start(t, 2, nil)
	a, b := f.join(failing(1)), f.join(failing(1))
	f.send("beijing", 20, home(0), home(1))
	f.fence(away)
	f.acked(2)
	f.send("beijing", 10, home(0), home(1))
	f.send("shanghai", 10, home(0), home(1))
	version := f.router.Table().Version
	facts := filter.NewFacts()
	for _, r := range f.records(broker) {
		facts.Apply(broker, r)
	}
	out, err := filter.RemainingAfter(facts, f.router.Table(), away.Moves, []string{group})
	require.NoError(t, err)
	f.commitMove(away, out.Hashes["beijing"])
	f.acked(2)
	f.send("beijing", 10, home(0), home(1))
	// The other unit processes nothing and gives everything back.
	back := moves("task-3", "beijing", "beijing", other, unit, 2)
	f.fence(back)
	f.acked(2)
	spans := map[msha.OriginQueue]filter.Offsets{}
	for _, r := range out.Records {
		if r.Group != "" {
			spans[r.Queue] = r.Spans
		}
	}
	f.write(factLog(), handOver(f, back, "back", spans)...)
	f.commitMove(back, "back")
	f.acked(2)
	f.send("beijing", 10, home(0), home(1))
	f.eventually("processed", func() bool { return f.journal.succeeded() == len(f.keys()) })
	f.exact()
	require.Greater(t, f.router.Table().Version, version)
	require.Zero(t, a.Stats().Expired+b.Stats().Expired)
}
