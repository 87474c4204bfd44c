package consume

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/route"
)

func TestOptionsRead(t *testing.T) {
	t.Parallel()
	strategy := func(string, string, []*primitive.MessageQueue, []string) []*primitive.MessageQueue { return nil }
	s, err := readOptions([]consumer.Option{
		consumer.WithGroupName("g"), consumer.WithConsumeFromWhere(consumer.ConsumeFromTimestamp), consumer.WithConsumeTimestamp("20260102030405"),
		consumer.WithConsumeGoroutineNums(7), consumer.WithConsumeMessageBatchMaxSize(3), consumer.WithPullBatchSize(11),
		consumer.WithPullThresholdForQueue(99), consumer.WithMaxReconsumeTimes(5), consumer.WithStrategy(strategy),
		consumer.WithSuspendCurrentQueueTimeMillis(7 * time.Second),
	})
	require.NoError(t, err)
	require.NotNil(t, s.strategy)
	require.Empty(t, s.strategy("", "", []*primitive.MessageQueue{{}}, []string{"c"}))
	s.strategy = nil
	require.Equal(t, settings{group: "g", from: consumer.ConsumeFromTimestamp, timestamp: "20260102030405", model: consumer.Clustering,
		goroutines: 7, batch: 3, pullBatch: 11, threshold: 99, suspend: 7 * time.Second, maxAttempts: 5}, s)
}

func TestOptionsDefaults(t *testing.T) {
	t.Parallel()
	s, err := readOptions([]consumer.Option{consumer.WithGroupName("g")})
	require.NoError(t, err)
	require.Equal(t, consumer.ConsumeFromLastOffset, s.from)
	require.Equal(t, 20, s.goroutines)
	require.Equal(t, 1, s.batch)
	require.Equal(t, 32, s.pullBatch)
	require.EqualValues(t, 1024, s.threshold)
	require.EqualValues(t, 16, s.maxAttempts)
	queues := []*primitive.MessageQueue{{QueueId: 0}, {QueueId: 1}}
	require.Equal(t, queues[1:], s.strategy("g", "b", queues, []string{"a", "b"}), "averagely, as client-go's default")
	at, err := time.ParseInLocation("20060102150405", s.timestamp, time.Local)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(-30*time.Minute), at, time.Minute)

	for given, want := range map[int32]int32{-1: 16, 0: 0, 16: 16, 17: 16} {
		s, err := readOptions([]consumer.Option{consumer.WithGroupName("g"), consumer.WithMaxReconsumeTimes(given)})
		require.NoError(t, err)
		require.Equal(t, want, s.maxAttempts, given)
	}
	s, err = readOptions([]consumer.Option{consumer.WithGroupName("g"), consumer.WithConsumerOrder(true)})
	require.NoError(t, err)
	require.EqualValues(t, -1, s.maxAttempts, "an ordered group tries on")
	require.Equal(t, "g", GroupOf(consumer.WithGroupName("g")))
	require.Empty(t, GroupOf())
}

func TestOptionsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts []consumer.Option
		is   error
		says string
	}{
		"no group":     {nil, msha.ErrInvalid, "consumer.WithGroupName"},
		"broadcasting": {[]consumer.Option{consumer.WithGroupName("g"), consumer.WithConsumerModel(consumer.BroadCasting)}, msha.ErrUnsupported, "client-go's own consumer"},
		"timestamp": {[]consumer.Option{consumer.WithGroupName("g"), consumer.WithConsumeFromWhere(consumer.ConsumeFromTimestamp), consumer.WithConsumeTimestamp("yesterday")},
			msha.ErrInvalid, "20060102150405"},
	} {
		_, err := readOptions(c.opts)
		require.ErrorIs(t, err, c.is, name)
		require.ErrorContains(t, err, c.says, name)
	}
	table, err := route.New([]string{unit}, nil)
	require.NoError(t, err)
	_, err = New(Config{Unit: unit, Router: newRouter(table), ClientID: "c"}, consumer.WithGroupName("g"))
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.ErrorContains(t, err, "Cluster")
}

func TestSubscribeRefused(t *testing.T) {
	t.Parallel()
	table, err := route.New([]string{unit}, nil)
	require.NoError(t, err)
	client := remoting.NewClient(nil)
	defer client.Close()
	e, err := New(Config{Unit: unit, Cluster: remoting.NewCluster([]string{"127.0.0.1:1"}, client), Router: newRouter(table), ClientID: "c"}, consumer.WithGroupName("g"))
	require.NoError(t, err)
	h := (&member{}).handle
	require.ErrorIs(t, e.Subscribe("", consumer.MessageSelector{}, h), msha.ErrInvalid)
	require.ErrorIs(t, e.Subscribe("T", consumer.MessageSelector{}, nil), msha.ErrInvalid)
	require.ErrorIs(t, e.Subscribe("no good", consumer.MessageSelector{}, h), msha.ErrInvalid)
	require.ErrorIs(t, e.Subscribe(strings.Repeat("t", 128), consumer.MessageSelector{}, h), msha.ErrInvalid)
	require.ErrorIs(t, e.Subscribe("T", consumer.MessageSelector{Type: "SQL99", Expression: "a > 1"}, h), msha.ErrUnsupported)
	require.ErrorIs(t, e.Subscribe("T", consumer.MessageSelector{Type: consumer.SQL92, Expression: " "}, h), msha.ErrInvalid)
	require.NoError(t, e.Subscribe("T", consumer.MessageSelector{}, h))
	require.NoError(t, e.Close(t.Context()), "never started")
	require.ErrorIs(t, e.Start(), msha.ErrClosed)
}

func TestCommittable(t *testing.T) {
	t.Parallel()
	h := &held{next: 5}
	require.EqualValues(t, 5, h.committable(), "nothing pulled: the position")
	for _, off := range []int64{5, 6, 8, 9} { // 7 was filtered out
		h.window.Add(off)
	}
	h.next = 12
	require.EqualValues(t, 5, h.committable())
	h.window.Acknowledge(6)
	require.EqualValues(t, 5, h.committable(), "6 is done, 5 is not")
	h.window.Acknowledge(5)
	require.EqualValues(t, 8, h.committable())
	h.window.Acknowledge(5)
	h.window.Acknowledge(7)
	h.window.Acknowledge(100)
	require.EqualValues(t, 8, h.committable(), "unknown offsets change nothing")
	h.window.Acknowledge(9)
	h.window.Acknowledge(8)
	require.EqualValues(t, 12, h.committable(), "all done: the position, what was filtered behind included")
	require.Zero(t, h.window.Len())
}

func TestWantedTags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expression, tag string
		want            bool
	}{
		{"", "", true}, {"", "a", true}, {"*", "", true}, {"*", "a", true}, {"a", "a", true}, {"a", "", false}, {"a", "A", false},
		{"a || b", "b", true}, {"a||b", "a", true}, {" a ||b", "c", false}, {"a ||", "a", true}, {"a ||", "", false},
	} {
		require.Equal(t, c.want, (&subscription{selector: consumer.MessageSelector{Expression: c.expression}}).wanted(c.tag), "%q of %q", c.tag, c.expression)
	}
}

func TestDelayLevel(t *testing.T) {
	t.Parallel()
	require.Equal(t, 3, delayLevel(0, 1))
	require.Equal(t, 4, delayLevel(0, 2))
	require.Equal(t, 18, delayLevel(0, 16))
	require.Equal(t, 5, delayLevel(5, 1))
}

func TestBatchesShareTheirRoute(t *testing.T) {
	t.Parallel()
	a := &item{topic: topic, meta: filter.Message{Value: "beijing", Unit: unit}}
	for name, b := range map[string]*item{
		"value":  {topic: topic, meta: filter.Message{Value: "shanghai", Unit: unit}},
		"unit":   {topic: topic, meta: filter.Message{Value: "beijing", Unit: other}},
		"legacy": {topic: topic, meta: filter.Message{Value: "beijing", Unit: unit, Legacy: true}},
		"topic":  {topic: "Mail", meta: filter.Message{Value: "beijing", Unit: unit}},
	} {
		require.False(t, sameRoute(a, b), name)
	}
	require.True(t, sameRoute(a, &item{topic: topic, meta: filter.Message{Value: "beijing", Unit: unit, Origin: msha.Origin{Offset: 7}}}))
}

// A body cannot be decompressed: the handler sees what is stored, as with client-go.
func TestPresent(t *testing.T) {
	t.Parallel()
	raw := &remoting.Message{Topic: "SMS-from-unit-2", Body: []byte("not zlib"), SysFlag: remoting.SysCompressed, QueueOffset: 3, ReconsumeTimes: 2, Flag: 9,
		Properties: map[string]string{"UNIQ_KEY": "u", "TAGS": "t", "mine": "x"}}
	m := present(raw, "SMS", remoting.Queue{Topic: "SMS-from-unit-2", Broker: broker, ID: 1})
	require.Equal(t, "not zlib", string(m.Body))
	require.Equal(t, "SMS", m.Topic)
	require.Equal(t, "u", m.MsgId)
	require.Equal(t, "x", m.GetProperty("mine"))
	require.Equal(t, "t", m.GetTags())
	require.EqualValues(t, 9, m.Flag)
	require.EqualValues(t, 2, m.ReconsumeTimes)
	require.Equal(t, "MessageQueue [topic=SMS-from-unit-2, brokerName=broker-a, queueId=1]", fmt.Sprint(m.Queue))
	raw.Properties = map[string]string{msha.PropertyEmpty: "true"}
	m = present(raw, "SMS", remoting.Queue{})
	require.Empty(t, m.Body)
	require.Equal(t, m.OffsetMsgId, m.MsgId)
}
