package replicate

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

var home = msha.OriginQueue{Unit: "unit-1", Broker: "broker-unit-1", Topic: "SMS"}

func incarnations(t *testing.T, store msha.MetaStore) *msha.Incarnations {
	t.Helper()
	doc, err := store.Get(context.Background(), msha.IncarnationsKey+".unit-1")
	if errors.Is(err, msha.ErrNotFound) {
		return nil
	}
	require.NoError(t, err)
	in, err := msha.ParseIncarnations(doc)
	require.NoError(t, err)
	return in
}

// requireAudit finds every message of the origin queue copied, and so many copies of messages that the origin has lost.
func requireAudit(t *testing.T, store msha.MetaStore, target string, compared, lost int64) {
	t.Helper()
	report := runAudit(t, store, AuditOptions{Targets: []string{target}, Topics: []string{"SMS"}})
	require.True(t, report.Exact(), "%s %+v", report.Verdict(), report.Queues)
	require.Equal(t, [2]int64{compared, lost}, [2]int64{report.Queues[0].Compared, report.Count(Lost)}, report.Verdict())
}

// The broker of the origin loses its tail. What it still has is not copied again, what it stores afterwards is, under a new identity; other
// queues notice nothing.
func TestAnOriginThatLostItsTail(t *testing.T) {
	for name, c := range map[string]struct {
		after int  // messages stored before anybody looks
		alive bool // a replicator runs meanwhile
	}{
		"nothing follows": {0, true}, "a few follow": {3, true}, "more follow": {9, true},
		"nothing follows, nobody looks": {0, false}, "a few follow, nobody looks": {3, false}, "more follow, nobody looks": {9, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memory.New()
			sites := startSites(t, store, "unit-1", "unit-2")
			origin := sites["unit-1"]
			for _, topic := range []string{"SMS", "MAIL"} {
				origin.createTopic(t, topic, 1)
				origin.produce(t, topic, 20)
			}
			r, stop := run(t, "unit-1", store, &Options{})
			syncTopic(t, r, "SMS")
			syncTopic(t, r, "MAIL")
			if !c.alive {
				stop()
			}
			origin.restart(t, "broker-unit-1", embedmq.LoseTail(4, "SMS"))
			origin.produce(t, "SMS", c.after)
			if !c.alive {
				r, _ = run(t, "unit-1", store, &Options{})
			}
			eventually(t, "raised", func() bool { return incarnations(t, store).Newest(home) == 1 })
			syncTopic(t, r, "SMS")
			requireAudit(t, store, "unit-2", int64(16+c.after), 4)
			origin.produce(t, "SMS", 5)
			origin.produce(t, "MAIL", 5)
			syncTopic(t, r, "SMS")
			syncTopic(t, r, "MAIL")
			requireAudit(t, store, "unit-2", int64(21+c.after), 4)
			requireExact(t, store, "unit-1", "unit-2", sites, "MAIL")
			require.EqualValues(t, 1, r.Stats().Raised)
			require.Equal(t, 1, incarnations(t, store).Count())
			require.Equal(t, []msha.Raised{{From: 16, Reason: "the broker lost its tail"}}, incarnations(t, store).Queues[0].Raised)
			require.Len(t, sites["unit-2"].readAll(t, replicaQueue("SMS", 0)), 25+c.after, "nothing is copied twice")
		})
	}
}

// It happens again and again, to several targets that are copied to by two processes.
func TestAnOriginThatLosesItsTailOften(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2", "unit-3")
	origin := sites["unit-1"]
	origin.createTopic(t, "SMS", 1)
	origin.produce(t, "SMS", 30)
	one, _ := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, BatchMessages: 3})
	two, _ := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, BatchMessages: 3})
	r := rand.New(rand.NewPCG(7, 7))
	lost, n := 0, 30
	for round := int64(1); round <= 6; round++ {
		syncTopic(t, one, "SMS")
		syncTopic(t, two, "SMS")
		cut := 1 + r.IntN(9)
		origin.restart(t, "broker-unit-1", embedmq.LoseTail(cut, "SMS"))
		eventually(t, "raised", func() bool { return incarnations(t, store).Newest(home) == round })
		more := r.IntN(14)
		origin.produce(t, "SMS", more)
		lost, n = lost+cut, n-cut+more
	}
	syncTopic(t, one, "SMS")
	syncTopic(t, two, "SMS")
	for _, unit := range []string{"unit-2", "unit-3"} {
		report := runAudit(t, store, AuditOptions{Targets: []string{unit}})
		require.True(t, report.Exact(), "%s %+v", report.Verdict(), report.Queues)
		require.EqualValues(t, n, report.Queues[0].Compared)
		require.EqualValues(t, lost, report.Count(Lost))
	}
	require.Equal(t, 6, incarnations(t, store).Count())
}

// One target is behind when the origin loses what the other one has: both agree on who has which messages.
func TestALaggingTargetLearnsOfTheLoss(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2", "unit-3")
	origin := sites["unit-1"]
	origin.createTopic(t, "SMS", 1)
	origin.produce(t, "SMS", 20)
	run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, Targets: []string{"unit-2"}})
	_, stop := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, Targets: []string{"unit-3"}})
	eventually(t, "both copy", func() bool {
		return sites["unit-2"].end(t, replicaOf("unit-2")) == 20 && sites["unit-3"].end(t, replicaOf("unit-3")) == 20
	})
	stop()
	origin.produce(t, "SMS", 10)
	eventually(t, "one is ahead", func() bool { return sites["unit-2"].end(t, replicaOf("unit-2")) == 30 })
	origin.restart(t, "broker-unit-1", embedmq.LoseTail(5, "SMS"))
	eventually(t, "raised", func() bool { return incarnations(t, store).Newest(home) == 1 })
	origin.produce(t, "SMS", 3)
	run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, Targets: []string{"unit-3"}})
	eventually(t, "all is copied", func() bool {
		return sites["unit-2"].end(t, replicaOf("unit-2")) == 33 && sites["unit-3"].end(t, replicaOf("unit-3")) == 28
	})
	requireAudit(t, store, "unit-2", 28, 5)
	requireAudit(t, store, "unit-3", 28, 0)
	var ids [2][]string
	for i, unit := range []string{"unit-2", "unit-3"} {
		for _, m := range sites[unit].readAll(t, replicaOf(unit)) {
			ids[i] = append(ids[i], m.Properties[msha.PropertyOrigin])
		}
	}
	require.Equal(t, append(ids[0][:25:25], ids[0][30:]...), ids[1])
}

// A person raises the incarnation of a queue to which nothing is added: what it holds is copied under its new numbers at once.
func TestARaiseWhileNothingComes(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 1)
	sites["unit-1"].produce(t, "SMS", 20)
	r, _ := run(t, "unit-1", store, &Options{})
	syncTopic(t, r, "SMS")
	_, raised, err := msha.Raise(context.Background(), store, 15, msha.Origin{OriginQueue: home, Offset: 17}, "")
	require.NoError(t, err)
	require.True(t, raised)
	eventually(t, "copied anew", func() bool { return sites["unit-2"].end(t, replicaOf("unit-2")) == 25 })
}

func replicaOf(unit string) remoting.Queue {
	return remoting.Queue{Topic: "SMS-from-unit-1", Broker: "broker-" + unit}
}

// A topic is deleted and created again. Nothing of what was copied is there: that is not guessed about.
func TestARecreatedTopic(t *testing.T) {
	for name, policy := range map[string]GapPolicy{"stop": Stop, "skip": Skip} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memory.New()
			sites := startSites(t, store, "unit-1", "unit-2")
			origin := sites["unit-1"]
			origin.createTopic(t, "SMS", 1)
			origin.createTopic(t, "MAIL", 1)
			origin.produce(t, "SMS", 20)
			r, stop := run(t, "unit-1", store, &Options{OnGap: policy})
			syncTopic(t, r, "SMS")
			stop()
			brokers, err := origin.mq.Brokers(context.Background())
			require.NoError(t, err)
			require.NoError(t, origin.mq.DeleteTopic(context.Background(), brokers["broker-unit-1"], "SMS"))
			origin.createTopic(t, "SMS", 1)
			queues, err := origin.mq.Queues(context.Background(), "SMS", true)
			require.NoError(t, err)
			for range 7 {
				_, err := origin.mq.Send(context.Background(), queues[0], "p", &remoting.Message{Body: []byte("another"), Properties: map[string]string{}})
				require.NoError(t, err)
			}
			r, _ = run(t, "unit-1", store, &Options{OnGap: policy})
			if policy == Stop {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				var stopped error
				eventually(t, "the queue stops", func() bool {
					stopped = r.Sync(ctx, "SMS")
					return stopped != nil
				})
				require.ErrorIs(t, stopped, msha.ErrGap)
				require.ErrorContains(t, stopped, "holds nothing of what was copied up to offset 19, it has offsets 0 to 6")
				require.ErrorContains(t, stopped, "OnGap: Skip")
				require.Nil(t, incarnations(t, store))
				origin.produce(t, "MAIL", 10)
				syncTopic(t, r, "MAIL")
				return
			}
			eventually(t, "raised", func() bool { return incarnations(t, store).Newest(home) == 1 })
			syncTopic(t, r, "SMS")
			requireAudit(t, store, "unit-2", 7, 20)
		})
	}
}

// All copies have expired, and the checkpoint is of a time before the loss: the position is that of the first offset used again.
func TestALossThatOnlyTheCheckpointRemembers(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	origin := sites["unit-1"]
	origin.createTopic(t, "SMS", 1)
	origin.produce(t, "SMS", 20)
	r, stop := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	stop()
	require.NoError(t, sites["unit-2"].RaiseMinOffset(replicaQueue("SMS", 0), 20))
	origin.restart(t, "broker-unit-1", embedmq.LoseTail(4, "SMS"))
	_, _, err := msha.Raise(context.Background(), store, 16, msha.Origin{OriginQueue: home, Offset: 19}, "by hand")
	require.NoError(t, err)
	origin.produce(t, "SMS", 9)
	r, _ = run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	copies := sites["unit-2"].readAll(t, replicaQueue("SMS", 0))
	require.Len(t, copies, 9)
	o, err := msha.ParseOrigin(copies[0].Properties[msha.PropertyOrigin])
	require.NoError(t, err)
	require.Equal(t, msha.Origin{OriginQueue: incarnations(t, store).At(home, 16), Offset: 16}, o)
}

// The replica topic is deleted and created again between two sends: what was copied before is missing, and that is said.
func TestAReplicaTopicCreatedAgain(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	origin, target := sites["unit-1"], sites["unit-2"]
	origin.createTopic(t, "SMS", 1)
	origin.produce(t, "SMS", 20)
	r, _ := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	brokers, err := target.mq.Brokers(context.Background())
	require.NoError(t, err)
	require.NoError(t, target.mq.DeleteTopic(context.Background(), brokers["broker-unit-2"], "SMS-from-unit-1"))
	target.createTopic(t, "SMS-from-unit-1", 1)
	origin.produce(t, "SMS", 3)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stopped error
	eventually(t, "the queue stops", func() bool {
		for _, q := range r.Stats().Stopped {
			stopped = q.Err
		}
		return stopped != nil
	})
	require.ErrorIs(t, stopped, msha.ErrGap)
	require.ErrorContains(t, stopped, "begins with offset 20, the origin with 0")
	require.ErrorIs(t, r.Sync(ctx, "SMS"), msha.ErrGap)
}

func TestTheFurtherOfTwoCopies(t *testing.T) {
	at := func(inc, off int64) *remoting.Message {
		o := msha.Origin{OriginQueue: home, Offset: off}
		o.Incarnation = inc
		return &remoting.Message{Properties: map[string]string{msha.PropertyOrigin: o.Encode()}}
	}
	require.True(t, further(at(0, 5), at(0, 4)))
	require.True(t, further(at(1, 3), at(0, 4)), "copied after the loss")
	require.False(t, further(at(0, 9), at(1, 3)))
	require.False(t, further(at(1, 3), at(1, 3)))
	require.EqualValues(t, 4, nextOf(at(0, 9), &msha.Incarnations{Queues: []msha.RaisedQueue{{Queue: home, Raised: []msha.Raised{{From: 4}}}}}))
}
