package tagging

import (
	"context"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
)

func init() { rlog.SetLogLevel("fatal") }

// site is an embedded cluster with the topic SMS of one queue.
type site struct {
	*embedmq.Cluster
	mq *remoting.Cluster
}

var queue = remoting.Queue{Topic: "SMS", Broker: "broker-a"}

func startSite(t *testing.T) *site {
	c, err := embedmq.Start(nil)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	client := remoting.NewClient(nil)
	t.Cleanup(client.Close)
	s := &site{c, remoting.NewCluster([]string{c.NameServer()}, client)}
	require.NoError(t, s.mq.CreateTopic(context.Background(), c.BrokerAddr("broker-a"), remoting.TopicConfig{Name: "SMS", Read: 1, Write: 1}))
	return s
}

// stored reads n messages back from the broker, waiting for those still under way, and returns their properties by body.
func (s *site) stored(t *testing.T, n int) map[string]map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got := map[string]map[string]string{}
	for offset := int64(0); len(got) < n; {
		res, err := s.mq.Pull(ctx, remoting.PullRequest{Queue: queue, Group: "audit", Offset: offset, Suspend: time.Second})
		require.NoError(t, err)
		for _, m := range res.Messages {
			got[string(m.Body)] = m.Properties
		}
		offset = max(offset, res.NextOffset)
	}
	return got
}

func options(s *site, name string, more ...producer.Option) []producer.Option {
	return append([]producer.Option{producer.WithNsResolver(primitive.NewPassthroughResolver([]string{s.NameServer()})),
		producer.WithGroupName(name), producer.WithInstanceName(name), producer.WithSendMsgTimeout(time.Minute)}, more...)
}

func message(body, city string) *primitive.Message {
	m := primitive.NewMessage("SMS", []byte(body)).WithTag("t").WithKeys([]string{body})
	m.WithProperty("city", city)
	return m
}

func TestStoredMessagesOfTheRealProducer(t *testing.T) {
	s, ctx := startSite(t), context.Background()
	config := Config{Unit: "unit-1", Value: FromProperty("city")}
	plain, err := rocketmq.NewProducer(options(s, "wrapped")...)
	require.NoError(t, err)
	p := Wrap(plain, config)
	require.NoError(t, p.Start())
	defer p.Shutdown() //nolint:errcheck // nothing to do about it

	_, err = p.SendSync(ctx, message("single", "beijing"))
	require.NoError(t, err)
	_, err = p.SendSync(ctx, message("batch 1", "beijing"), message("batch 2", "guangzhou"), message("batch 3", ""))
	require.NoError(t, err)
	require.NoError(t, p.SendAsync(ctx, func(context.Context, *primitive.SendResult, error) {}, message("async", "beijing")))
	require.NoError(t, p.SendOneWay(With(ctx, "shanghai"), message("oneway", "beijing")))
	ordered := message("ordered", "beijing")
	ordered.WithShardingKey("k")
	_, err = p.SendSync(ctx, ordered)
	require.NoError(t, err)

	got := s.stored(t, 7)
	for body, city := range map[string]string{
		"single": "beijing", "batch 1": "beijing", "batch 2": "guangzhou", "batch 3": "", "async": "beijing", "oneway": "shanghai", "ordered": "beijing",
	} {
		require.Equal(t, city, got[body][msha.PropertyRoute], body)
		require.Equal(t, "unit-1", got[body][msha.PropertyUnit], body)
		require.Equal(t, body, got[body]["KEYS"], body)
		require.Equal(t, "t", got[body]["TAGS"], body)
	}
}

// always commits.
type always struct{}

func (always) ExecuteLocalTransaction(*primitive.Message) primitive.LocalTransactionState {
	return primitive.CommitMessageState
}

func (always) CheckLocalTransaction(*primitive.MessageExt) primitive.LocalTransactionState {
	return primitive.CommitMessageState
}

func TestStoredTransactionalMessage(t *testing.T) {
	s := startSite(t)
	plain, err := rocketmq.NewTransactionProducer(always{}, options(s, "transactions")...)
	require.NoError(t, err)
	p := WrapTransaction(plain, Config{Unit: "unit-1", Value: FromProperty("city")})
	require.NoError(t, p.Start())
	defer p.Shutdown() //nolint:errcheck // nothing to do about it
	_, err = p.SendMessageInTransaction(context.Background(), message("half", "beijing"))
	require.NoError(t, err)
	props := s.stored(t, 1)["half"]
	require.Equal(t, "beijing", props[msha.PropertyRoute])
	require.Equal(t, "unit-1", props[msha.PropertyUnit])
}

func TestStoredMessagesBehindTheInterceptor(t *testing.T) {
	s, ctx := startSite(t), context.Background()
	p, err := rocketmq.NewProducer(options(s, "intercepted", producer.WithInterceptor(Interceptor(Config{Unit: "unit-1", Value: FromProperty("city")})))...)
	require.NoError(t, err)
	require.NoError(t, p.Start())
	defer p.Shutdown() //nolint:errcheck // nothing to do about it
	_, err = p.SendSync(ctx, message("single", "beijing"))
	require.NoError(t, err)
	_, err = p.SendSync(ctx, message("batch 1", "beijing"), message("batch 2", "guangzhou"))
	require.NoError(t, err)
	got := s.stored(t, 3)
	require.Equal(t, "beijing", got["single"][msha.PropertyRoute])
	for _, body := range []string{"batch 1", "batch 2"} {
		require.NotContains(t, got[body], msha.PropertyRoute, "as the documentation says")
		require.NotContains(t, got[body], msha.PropertyUnit)
		require.NotEmpty(t, got[body]["city"])
	}
}
