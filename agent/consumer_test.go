package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/route"
)

const group = "channel"

// failing is a store whose table cannot be read on demand.
type failing struct {
	msha.MetaStore
	on atomic.Bool
}

var errStore = errors.New("the store does not answer")

func (s *failing) Get(ctx context.Context, key string) (msha.Document, error) {
	if s.on.Load() && key == msha.TableKey {
		return msha.Document{}, errStore
	}
	return s.MetaStore.Get(ctx, key)
}

func (s *failing) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if s.on.Load() && key == msha.TableKey {
		return expect, errStore
	}
	return s.MetaStore.Put(ctx, key, value, expect)
}

func join(t *testing.T) (*Unit, *failing, *embedmq.Cluster) {
	t.Helper()
	rlog.SetLogLevel("fatal")
	cluster, err := embedmq.Start(nil)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	store := &failing{MetaStore: memory.New()}
	table, err := route.New([]string{"unit-1"}, map[string][]string{"unit-1": {"beijing"}})
	require.NoError(t, err)
	require.NoError(t, route.Init(t.Context(), store, table, &msha.Units{Units: []msha.UnitInfo{{Name: "unit-1", NameServers: []string{cluster.NameServer()}, State: "live"}}}))
	u, err := Join(t.Context(), "unit-1", store, &Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, u.Close(ctx))
	})
	return u, store, cluster
}

func ignore(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	return consumer.ConsumeSuccess, nil
}

// Of consumers and producers that were shut down nothing is kept but the consumers' counters: an application may make new ones all the time.
func TestClosedClientsAreForgotten(t *testing.T) {
	u, _, _ := join(t)
	for i := range 4 {
		c, err := u.NewPushConsumer(consumer.WithGroupName(group))
		require.NoError(t, err)
		require.NoError(t, c.Subscribe("SMS", consumer.MessageSelector{}, ignore))
		p, err := u.NewProducer(producer.WithGroupName("mtr"))
		require.NoError(t, err)
		if i > 0 { // the first ones are shut down before their start
			require.NoError(t, c.Start())
			require.NoError(t, p.Start())
		}
		require.Len(t, u.owned, 2)
		require.NoError(t, p.Shutdown())
		require.NoError(t, c.Shutdown())
		require.NoError(t, c.Shutdown(), "repeated")
		require.ErrorIs(t, c.Start(), msha.ErrClosed)
		require.Empty(t, u.owned)
	}
	stats := u.Stats()
	require.Len(t, stats, 4)
	for i, c := range u.consumers {
		require.Nil(t, c.engine)
		require.Equal(t, group, stats[i].Group)
		require.NotEmpty(t, stats[i].ClientID)
	}
}

// A producer that is started again after its shutdown is Close's again; one that is not closed is shut down by Close, the newest first.
func TestCloseShutsDownWhatIsOpen(t *testing.T) {
	u, _, _ := join(t)
	p, err := u.NewProducer(producer.WithGroupName("mtr"))
	require.NoError(t, err)
	require.NoError(t, p.Shutdown())
	require.NoError(t, p.Start())
	c, err := u.NewPushConsumer(consumer.WithGroupName(group))
	require.NoError(t, err)
	require.NoError(t, c.Subscribe("SMS", consumer.MessageSelector{}, ignore))
	require.NoError(t, c.Start())
	require.NoError(t, u.Close(t.Context()))
	require.Empty(t, u.owned)
	require.False(t, p.(*ownedProducer).started)
	require.ErrorIs(t, c.Start(), msha.ErrClosed)
	require.ErrorIs(t, p.Start(), msha.ErrClosed)
}

// A consumer that was registered at the brokers, and then could not start, is gone from their lists: others would leave it a share of the queues.
func TestFailedStartLeavesNothing(t *testing.T) {
	u, store, cluster := join(t)
	client := remoting.NewClient(&remoting.Options{Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(client.Close)
	mq := remoting.NewCluster([]string{cluster.NameServer()}, client)
	c, err := u.NewPushConsumer(consumer.WithGroupName(group))
	require.NoError(t, err)
	require.NoError(t, c.Subscribe("SMS", consumer.MessageSelector{}, ignore))
	registered := cluster.Inject(embedmq.Fault{Code: remoting.ReqHeartbeat, Delay: time.Nanosecond})
	store.on.Store(true)
	require.ErrorIs(t, c.Start(), errStore)
	require.Positive(t, registered.Hits(), "it was at the broker")
	brokers, err := mq.Brokers(t.Context())
	require.NoError(t, err)
	for _, addr := range brokers {
		ids, _ := mq.ConsumerIDs(t.Context(), addr, group) // an error says that there are none
		require.Empty(t, ids)
	}
	store.on.Store(false)
	roster, err := route.RosterFresh(t.Context(), store)
	require.NoError(t, err)
	require.Empty(t, roster.Members)
	require.Empty(t, u.owned)
	require.ErrorIs(t, c.Start(), msha.ErrClosed)

	next, err := u.NewPushConsumer(consumer.WithGroupName(group))
	require.NoError(t, err)
	require.NoError(t, next.Subscribe("SMS", consumer.MessageSelector{}, ignore))
	require.NoError(t, next.Start())
}
