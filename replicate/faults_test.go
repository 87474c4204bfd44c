package replicate

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

const patience = time.Minute

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, patience, 5*time.Millisecond, what)
}

// restart kills a broker and starts it again; then the test's own client is connected to the new one.
func (s *site) restart(t *testing.T, broker string, tail embedmq.Tail) {
	t.Helper()
	require.NoError(t, s.Kill(broker))
	require.NoError(t, s.Restart(broker, tail))
	eventually(t, "the broker answers again", func() bool {
		_, err := s.mq.MaxOffset(context.Background(), remoting.Queue{Topic: "SMS", Broker: broker})
		return err == nil
	})
}

// reaches waits until a queue ends at n; its broker may be away meanwhile.
func (s *site) reaches(t *testing.T, q remoting.Queue, n int64) {
	t.Helper()
	eventually(t, "copies arrive", func() bool {
		end, err := s.mq.MaxOffset(context.Background(), q)
		return err == nil && end == n
	})
}

func TestALostTailIsFilledAgainWithoutNewMessages(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 2)
	sites["unit-1"].produce(t, "SMS", 60)
	r, _ := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	for _, lost := range []int{1, 7, 30} {
		sites["unit-2"].restart(t, "broker-unit-2", embedmq.LoseTail(lost))
		for id := range 2 {
			sites["unit-2"].reaches(t, replicaQueue("SMS", id), 30)
		}
		requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
	}
}

func TestOrderUnderKillsOfTheTargetBroker(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 3)
	r, _ := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, BatchMessages: 4})
	for round, tail := range []embedmq.Tail{embedmq.KeepAll, embedmq.LoseTail(3), embedmq.KeepAll, embedmq.LoseTail(11)} {
		sites["unit-1"].produce(t, "SMS", 90)
		if round%2 == 0 {
			sites["unit-2"].reachesSome(t, int64(round*30))
		}
		require.NoError(t, sites["unit-2"].Kill("broker-unit-2"))
		sites["unit-1"].produce(t, "SMS", 30)
		require.NoError(t, sites["unit-2"].Restart("broker-unit-2", tail))
		sites["unit-1"].produce(t, "SMS", 30)
	}
	for id := range 3 {
		sites["unit-2"].reaches(t, replicaQueue("SMS", id), 4*50)
	}
	syncTopic(t, r, "SMS")
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
}

// reachesSome waits until queue 0 of the copies is beyond n.
func (s *site) reachesSome(t *testing.T, n int64) {
	t.Helper()
	eventually(t, "some are copied", func() bool {
		end, err := s.mq.MaxOffset(context.Background(), replicaQueue("SMS", 0))
		return err == nil && end > n
	})
}

func TestStoredButNotFlushedCountsAsStored(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 2)
	sites["unit-1"].produce(t, "SMS", 100)
	single := sites["unit-2"].Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, StoredButTimedOut: true})
	batch := sites["unit-2"].Inject(embedmq.Fault{Code: remoting.ReqSendBatchMessage, StoredButTimedOut: true})
	r, _ := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, BatchMessages: 5})
	syncTopic(t, r, "SMS")
	require.Positive(t, single.Hits())
	require.Positive(t, batch.Hits())
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
}

func TestABusyTargetIsTriedAgain(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 2)
	sites["unit-1"].produce(t, "SMS", 100)
	fault := sites["unit-2"].Inject(embedmq.Fault{Code: remoting.ReqSendBatchMessage, Error: remoting.RespSystemBusy, Times: 4})
	r, _ := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, BatchMessages: 5})
	syncTopic(t, r, "SMS")
	require.Equal(t, 4, fault.Hits())
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
}

func TestAReplicatorStoppedInBetweenGoesOn(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 2)
	sites["unit-1"].produce(t, "SMS", 400)
	seen := int64(-1)
	for stops := 0; ; stops++ {
		r, stop := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, BatchMessages: 3})
		if stops == 5 {
			syncTopic(t, r, "SMS")
			break
		}
		sites["unit-2"].reachesSome(t, seen)
		stop()
		seen = sites["unit-2"].end(t, replicaQueue("SMS", 0))
	}
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
}

func TestExpiredCopiesAreNotCopiedAgain(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 1)
	sites["unit-1"].produce(t, "SMS", 20)
	r, stop := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	stop() // the checkpoint is stored
	require.NoError(t, sites["unit-2"].RaiseMinOffset(replicaQueue("SMS", 0), 20))
	sites["unit-1"].produce(t, "SMS", 5)
	r, stop = run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	stop()
	copies := sites["unit-2"].readAll(t, replicaQueue("SMS", 0))
	require.Len(t, copies, 5)
	o, err := msha.ParseOrigin(copies[0].Properties[msha.PropertyOrigin])
	require.NoError(t, err)
	require.EqualValues(t, 20, o.Offset)

	doc, err := store.Get(context.Background(), checkpointKey("unit-1", "unit-2"))
	require.NoError(t, err)
	require.NoError(t, store.Delete(context.Background(), doc.Key, doc.Revision))
	require.NoError(t, sites["unit-2"].RaiseMinOffset(replicaQueue("SMS", 0), 25))
	r, _ = run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	require.Len(t, sites["unit-2"].readAll(t, replicaQueue("SMS", 0)), 25, "without a checkpoint a repeat is better than a loss")
}

func TestCopyingGoesOnWithoutTheMetastore(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 1)
	sites["unit-1"].produce(t, "SMS", 10)
	r, _ := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	require.NoError(t, store.Close())
	require.NoError(t, sites["unit-2"].Kill("broker-unit-2"))
	sites["unit-1"].produce(t, "SMS", 10)
	require.NoError(t, sites["unit-2"].Restart("broker-unit-2", embedmq.LoseTail(2)))
	sites["unit-2"].reaches(t, replicaQueue("SMS", 0), 20)
}

func TestAMuteUnitHoldsUpNoOther(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	require.NoError(t, err)
	defer l.Close()
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	doc, err := store.Get(context.Background(), msha.UnitsKey)
	require.NoError(t, err)
	value := append([]byte(`{"units":[{"name":"unit-0","nameServers":["`+l.Addr().String()+`"],"state":"live"},`), doc.Value[len(`{"units":[`):]...)
	_, err = store.Put(context.Background(), msha.UnitsKey, value, doc.Revision)
	require.NoError(t, err)
	sites["unit-1"].createTopic(t, "SMS", 1)
	sites["unit-1"].produce(t, "SMS", 10)
	_, _ = run(t, "unit-1", store, &Options{timeout: time.Second})
	sites["unit-2"].reaches(t, replicaQueue("SMS", 0), 10)
}

func TestAMessageThatDoesNotFitStopsItsQueueByName(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	origin := sites["unit-1"]
	origin.createTopic(t, "SMS", 2)
	origin.produce(t, "SMS", 10)
	q := remoting.Queue{Topic: "SMS", Broker: "broker-unit-1", ID: 0}
	_, err := origin.mq.SendBatch(context.Background(), q, "p", []*remoting.Message{{Body: []byte("x"), Properties: map[string]string{"k": string(make([]byte, remoting.MaxProperties-10))}}})
	require.NoError(t, err)
	origin.produce(t, "SMS", 10)
	r, _ := run(t, "unit-1", store, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = r.Sync(ctx, "SMS")
	require.ErrorIs(t, err, msha.ErrTooLarge)
	require.ErrorContains(t, err, "1|unit-1|broker-unit-1|SMS|0|0|5 cannot be copied")
	require.EqualValues(t, 5, sites["unit-2"].end(t, replicaQueue("SMS", 0)), "what is before it was copied, what is behind it waits")
	sites["unit-2"].reaches(t, replicaQueue("SMS", 1), 10)
}

func TestOnlyPositionsAndRefusedMessagesAreFinal(t *testing.T) {
	require.False(t, isFinal(errors.Join(remoting.ErrDropped, msha.ErrInvalid)), "a garbled answer heals")
	require.False(t, isFinal(nil))
	require.True(t, isFinal(finalError{msha.ErrGap}))
	require.ErrorIs(t, finalError{msha.ErrGap}, msha.ErrGap)
}
