package embedmq_test

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
)

const name = "broker-a"

// fixture is a cluster with a client.
type fixture struct {
	*testing.T
	*embedmq.Cluster
	ctx    context.Context
	client *remoting.Client
	mq     *remoting.Cluster
	asked  chan *remoting.Command // what brokers ask the client
	drops  chan string            // connections the client lost
}

func start(t *testing.T, o *embedmq.Options) *fixture {
	t.Helper()
	return startAs(t, o, msha.Credentials{})
}

func startAs(t *testing.T, o *embedmq.Options, who msha.Credentials) *fixture {
	t.Helper()
	c, err := embedmq.Start(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	f := &fixture{T: t, Cluster: c, asked: make(chan *remoting.Command, 100), drops: make(chan string, 100)}
	var cancel context.CancelFunc
	f.ctx, cancel = context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	f.client = remoting.NewClient(&remoting.Options{Logger: slog.New(slog.DiscardHandler), Credentials: who, OnRequest: func(_ string, cmd *remoting.Command) *remoting.Command {
		f.asked <- cmd
		return nil
	}, OnDrop: func(addr string) { f.drops <- addr }})
	t.Cleanup(f.client.Close)
	f.mq = remoting.NewCluster([]string{c.NameServer()}, f.client)
	return f
}

// queue creates a topic of one queue.
func (f *fixture) queue(topic string) remoting.Queue {
	f.Helper()
	require.NoError(f, f.mq.CreateTopic(f.ctx, f.BrokerAddr(name), remoting.TopicConfig{Name: topic, Read: 1, Write: 1}))
	return remoting.Queue{Topic: topic, Broker: name}
}

// kill kills the broker, which the client is connected to, and waits until the client knows.
func (f *fixture) kill() {
	f.Helper()
	require.NoError(f, f.Kill(name))
	require.Equal(f, f.BrokerAddr(name), <-f.drops)
}

// put sends bodies m<from> … and requires their offsets to be the numbers.
func (f *fixture) put(q remoting.Queue, from, n int) {
	f.Helper()
	for i := from; i < from+n; i++ {
		res, err := f.mq.Send(f.ctx, q, "producers", body("m"+strconv.Itoa(i)))
		require.NoError(f, err)
		require.EqualValues(f, i, res.QueueOffset)
	}
}

// bodies reads everything a queue holds.
func (f *fixture) bodies(q remoting.Queue) (got []string) {
	f.Helper()
	from, err := f.mq.MinOffset(f.ctx, q)
	require.NoError(f, err)
	for {
		res, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "readers", Offset: from})
		require.NoError(f, err)
		if len(res.Messages) == 0 {
			return got
		}
		for _, m := range res.Messages {
			got = append(got, string(m.Body))
		}
		from = res.NextOffset
	}
}

func (f *fixture) maxOffset(q remoting.Queue) int64 {
	f.Helper()
	n, err := f.mq.MaxOffset(f.ctx, q)
	require.NoError(f, err)
	return n
}

func (f *fixture) group(g string) {
	f.Helper()
	require.NoError(f, f.mq.CreateGroup(f.ctx, f.BrokerAddr(name), remoting.GroupConfig{Name: g}))
}

func (f *fixture) heartbeat(g, clientID string) {
	f.Helper()
	require.NoError(f, f.mq.Heartbeat(f.ctx, f.BrokerAddr(name), &remoting.HeartbeatData{ClientID: clientID,
		Consumers: []remoting.ConsumerData{{GroupName: g, Type: "CONSUME_PASSIVELY", Model: "CLUSTERING", From: "CONSUME_FROM_LAST_OFFSET",
			Subscriptions: []remoting.SubscriptionData{{Topic: "topic", SubString: "*", ExpressionType: "TAG", Tags: []string{}, Codes: []int32{}}}}}}))
}

func (f *fixture) members(g string) []string {
	f.Helper()
	ids, err := f.mq.ConsumerIDs(f.ctx, f.BrokerAddr(name), g)
	require.NoError(f, err)
	return ids
}

// told waits for the next notice that a group changed.
func (f *fixture) told(g string) {
	f.Helper()
	select {
	case cmd := <-f.asked:
		require.Equal(f, remoting.ReqNotifyConsumerIDsChanged, cmd.Code)
		require.Equal(f, g, cmd.Ext["consumerGroup"])
	case <-f.ctx.Done():
		f.Fatal("no notice")
	}
}

func body(s string) *remoting.Message { return &remoting.Message{Body: []byte(s)} }
