package replicate

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

// One target is behind, its pipe alive: it finds nothing wrong after the loss and goes on under the old numbers. Once its process knows of
// the raise, it copies under the new ones.
func TestALaggingPipeThatIsAliveLearns(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2", "unit-3")
	origin := sites["unit-1"]
	origin.createTopic(t, "SMS", 1)
	origin.produce(t, "SMS", 20)
	run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, Targets: []string{"unit-2"}})
	behind, _ := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, Targets: []string{"unit-3"}})
	eventually(t, "both copy", func() bool {
		return sites["unit-2"].end(t, replicaOf("unit-2")) == 20 && sites["unit-3"].end(t, replicaOf("unit-3")) == 20
	})
	// What the loss takes reaches one target only.
	behind.Pause("SMS")
	origin.produce(t, "SMS", 10)
	eventually(t, "one is ahead", func() bool { return sites["unit-2"].end(t, replicaOf("unit-2")) == 30 })
	require.EqualValues(t, 20, sites["unit-3"].end(t, replicaOf("unit-3")))
	origin.restart(t, "broker-unit-1", embedmq.LoseTail(5, "SMS"))
	behind.Resume("SMS")
	eventually(t, "raised", func() bool { return incarnations(t, store).Newest(home) == 1 })
	eventually(t, "known to the other process", func() bool { return behind.history.Now().Newest(home) == 1 })
	origin.produce(t, "SMS", 3)
	eventually(t, "all is copied", func() bool {
		return sites["unit-2"].end(t, replicaOf("unit-2")) == 33 && sites["unit-3"].end(t, replicaOf("unit-3")) == 28
	})
	in := incarnations(t, store)
	for _, m := range sites["unit-3"].readAll(t, replicaOf("unit-3"))[25:] {
		o, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
		require.NoError(t, err)
		require.Equal(t, in.At(o.OriginQueue, o.Offset), o.OriginQueue, "offset %d was copied after the raise", o.Offset)
	}
}

// The raise is known, and of what is left in the replica queue all is of lost messages: there is nothing to compare, and nothing wrong.
func TestOnlyLostCopiesAreLeft(t *testing.T) {
	for name, policy := range map[string]GapPolicy{"stop": Stop, "skip": Skip} {
		t.Run(name, func(t *testing.T) {
			store := memory.New()
			sites := startSites(t, store, "unit-1", "unit-2")
			origin := sites["unit-1"]
			origin.createTopic(t, "SMS", 1)
			origin.produce(t, "SMS", 20)
			r, stop := run(t, "unit-1", store, &Options{OnGap: policy})
			syncTopic(t, r, "SMS")
			stop()
			require.NoError(t, sites["unit-2"].RaiseMinOffset(replicaQueue("SMS", 0), 16))
			origin.restart(t, "broker-unit-1", embedmq.LoseTail(4, "SMS"))
			_, _, err := msha.Raise(context.Background(), store, 16, msha.Origin{OriginQueue: home, Offset: 19}, "by another target's pipe")
			require.NoError(t, err)
			origin.produce(t, "SMS", 9)
			r, _ = run(t, "unit-1", store, &Options{OnGap: policy})
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err = r.Sync(ctx, "SMS")
			require.Equal(t, 1, incarnations(t, store).Count(), "%+v", incarnations(t, store).Queues)
			require.NoError(t, err)
			require.Len(t, sites["unit-2"].readAll(t, replicaQueue("SMS", 0)), 4+9)
		})
	}
}

// A batch that a replaced process had on its way is the last in the replica queue: the search takes its end for the place of the loss, and
// message 9, which was not lost, gets another identity. If a batch may be larger than what is behind it, the loss is not noticed at all.
func TestPartingAtALateBatch(t *testing.T) {
	for name, batch := range map[string]int{"small batches": 4, "large batches": 0} {
		t.Run(name, func(t *testing.T) {
			store := memory.New()
			sites := startSites(t, store, "unit-1", "unit-2")
			origin := sites["unit-1"]
			origin.createTopic(t, "SMS", 1)
			origin.produce(t, "SMS", 13)
			r, stop := run(t, "unit-1", store, &Options{BatchMessages: batch})
			syncTopic(t, r, "SMS")
			stop()
			for _, m := range sites["unit-2"].readAll(t, replicaQueue("SMS", 0))[5:9] {
				c := &remoting.Message{Topic: m.Topic, Flag: m.Flag, SysFlag: m.SysFlag & keptFlags, Body: m.Body, Properties: m.Properties, BornTimestamp: m.BornTimestamp}
				delete(c.Properties, "MIN_OFFSET")
				delete(c.Properties, "MAX_OFFSET")
				var err error
				if fitsBatch(c) {
					_, err = sites["unit-2"].mq.SendBatch(context.Background(), replicaQueue("SMS", 0), "p", []*remoting.Message{c})
				} else {
					_, err = sites["unit-2"].mq.Send(context.Background(), replicaQueue("SMS", 0), "p", c)
				}
				require.NoError(t, err)
			}
			origin.restart(t, "broker-unit-1", embedmq.LoseTail(2, "SMS")) // 11 and 12
			origin.produce(t, "SMS", 4)
			run(t, "unit-1", store, &Options{BatchMessages: batch})
			eventually(t, "raised", func() bool { return incarnations(t, store).Newest(home) == 1 })
			require.EqualValues(t, 11, incarnations(t, store).Queues[0].Raised[0].From)
		})
	}
}
