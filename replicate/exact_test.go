package replicate

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

func noise(t *testing.T, n int) []byte {
	b := make([]byte, n)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return b
}

// requireSame compares a copy with its original in everything but what the copy must add or drop.
func requireSame(t *testing.T, want, got *remoting.Message) {
	t.Helper()
	require.Equal(t, len(want.Body), len(got.Body))
	require.True(t, string(want.Body) == string(got.Body), "body of offset %d", want.QueueOffset)
	require.Equal(t, want.Flag, got.Flag)
	require.Equal(t, want.SysFlag, got.SysFlag)
	props := maps.Clone(got.Properties)
	o, err := msha.ParseOrigin(props[msha.PropertyOrigin])
	require.NoError(t, err)
	require.Equal(t, want.QueueOffset, o.Offset)
	delete(props, msha.PropertyOrigin)
	if want.Properties[msha.PropertyUnit] == "" {
		require.Equal(t, "unit-1", props[msha.PropertyUnit])
		delete(props, msha.PropertyUnit)
	}
	original := maps.Clone(want.Properties)
	for _, name := range []string{"CLUSTER", "MSG_REGION", "TRACE_ON"} { // a broker's own mark on messages sent singly
		delete(props, name)
		delete(original, name)
	}
	require.Equal(t, original, props)
}

func TestEverySizeAndKindIsCopiedExactly(t *testing.T) {
	store, ctx := memory.New(), context.Background()
	sites := startSites(t, store, "unit-1", "unit-2")
	origin := sites["unit-1"]
	origin.createTopic(t, "SMS", 1)
	q := remoting.Queue{Topic: "SMS", Broker: "broker-unit-1"}
	single := func(m *remoting.Message) {
		_, err := origin.mq.Send(ctx, q, "p", m)
		require.NoError(t, err)
	}
	batch := func(ms ...*remoting.Message) {
		_, err := origin.mq.SendBatch(ctx, q, "p", ms)
		require.NoError(t, err)
	}
	many := map[string]string{"KEYS": "k1 k2", "TAGS": "t", msha.PropertyUnit: "unit-9", msha.PropertyRoute: "beijing"}
	for i := range 200 {
		many[fmt.Sprintf("property %03d é", i)] = strings.Repeat("值", i%20)
	}
	single(&remoting.Message{Body: noise(t, 4<<20), Flag: 7, Properties: map[string]string{"a": "b"}})
	single(&remoting.Message{Body: []byte{0}, Properties: many})
	batch(&remoting.Message{}, &remoting.Message{Body: noise(t, 1<<20)}, &remoting.Message{Body: []byte("x"), Properties: many}, &remoting.Message{Body: noise(t, 2_500_000)})
	for _, kind := range []int32{0, 1, 2, 3} {
		single(&remoting.Message{Body: noise(t, 3000), SysFlag: remoting.SysCompressed | kind<<8, Properties: map[string]string{"UNIQ_KEY": fmt.Sprint("C", kind)}})
		batch(&remoting.Message{Properties: map[string]string{"empty": ""}})
	}
	batch(&remoting.Message{Body: noise(t, 4<<20-22-12), Properties: map[string]string{"UNIQ_KEY": "LL"}}) // the largest batch
	for i := range 60 {
		batch(&remoting.Message{Body: noise(t, i*i*13), Properties: map[string]string{"n": fmt.Sprint(i)}}, &remoting.Message{Flag: int32(-i)})
	}
	r, stop := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	stop()
	want, got := origin.readAll(t, q), sites["unit-2"].readAll(t, replicaQueue("SMS", 0))
	require.Len(t, got, len(want))
	for i := range want {
		requireSame(t, want[i], got[i])
	}
}

func TestAMessageWithoutUniqKeyDoesNotLookLikeAnother(t *testing.T) {
	store, ctx := memory.New(), context.Background()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 1)
	q := remoting.Queue{Topic: "SMS", Broker: "broker-unit-1"}
	for i := range 3 {
		_, err := sites["unit-1"].mq.SendBatch(ctx, q, "p", []*remoting.Message{{Body: fmt.Append(nil, i)}})
		require.NoError(t, err)
		r, stop := run(t, "unit-1", store, nil)
		syncTopic(t, r, "SMS")
		stop()
	}
	for _, m := range sites["unit-2"].readAll(t, replicaQueue("SMS", 0)) {
		require.NotContains(t, m.Properties, "UNIQ_KEY")
	}
}

func TestWhatIsCopiedAndWhatIsNot(t *testing.T) {
	store, ctx := memory.New(), context.Background()
	sites := startSites(t, store, "unit-1", "unit-2")
	origin := sites["unit-1"]
	for _, topic := range []string{"SMS", msha.ProgressTopic, "secret", "%RETRY%g", "%DLQ%g", "SMS-from-unit-2", "MSHA_PROGRESS-from-unit-2"} {
		origin.createTopic(t, topic, 1)
		for range 3 {
			_, err := origin.mq.Send(ctx, remoting.Queue{Topic: topic, Broker: "broker-unit-1"}, "p", &remoting.Message{Body: []byte("x")})
			require.NoError(t, err, topic)
		}
	}
	r, _ := run(t, "unit-1", store, &Options{Topics: []string{"*"}, Deny: []string{"sec*", msha.ProgressTopic}})
	syncTopic(t, r, "SMS")
	syncTopic(t, r, msha.ProgressTopic)
	topics, err := sites["unit-2"].mq.TopicList(ctx)
	require.NoError(t, err)
	var copies []string
	for _, topic := range topics {
		if strings.Contains(topic, "-from-") {
			copies = append(copies, topic)
		}
	}
	require.Equal(t, []string{"MSHA_PROGRESS-from-unit-1", "SMS-from-unit-1"}, copies)
	r.Pause(msha.ProgressTopic)
	origin.produce(t, msha.ProgressTopic, 3)
	syncTopic(t, r, msha.ProgressTopic)
	requireExact(t, store, "unit-1", "unit-2", sites, msha.ProgressTopic)
}

func TestKnownGroupsStartAtTheFirstCopy(t *testing.T) {
	store, ctx := memory.New(), context.Background()
	sites := startSites(t, store, "unit-1", "unit-2")
	target := sites["unit-2"]
	addr := target.BrokerAddr("broker-unit-2")
	for _, g := range []string{"channel", "report"} {
		require.NoError(t, target.mq.CreateGroup(ctx, addr, remoting.GroupConfig{Name: g}))
	}
	sites["unit-1"].createTopic(t, "SMS", 2)
	sites["unit-1"].produce(t, "SMS", 10)
	r, stop := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	for _, g := range []string{"channel", "report"} {
		for id := range 2 {
			off, err := target.mq.CommittedOffset(ctx, g, replicaQueue("SMS", id))
			require.NoError(t, err)
			require.Zero(t, off)
		}
	}
	stop()
	require.NoError(t, target.mq.Commit(ctx, "channel", replicaQueue("SMS", 0), 4))
	r, _ = run(t, "unit-1", store, nil)
	sites["unit-1"].produce(t, "SMS", 10)
	syncTopic(t, r, "SMS")
	off, err := target.mq.CommittedOffset(ctx, "channel", replicaQueue("SMS", 0))
	require.NoError(t, err)
	require.EqualValues(t, 4, off, "a group's progress is never touched again")
}

func TestQueuesAddedWhileRunning(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 1)
	sites["unit-1"].produce(t, "SMS", 10)
	r, _ := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	sites["unit-1"].createTopic(t, "SMS", 4)
	sites["unit-1"].produce(t, "SMS", 40)
	syncTopic(t, r, "SMS")
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
}
