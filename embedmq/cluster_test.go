package embedmq_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
)

func TestOptionsReportEveryProblem(t *testing.T) {
	_, err := embedmq.Start(&embedmq.Options{Brokers: []string{"", "a", "a", embedmq.NameServer}, MaxPullBytes: -1, DelayLevels: []time.Duration{-1}})
	require.ErrorIs(t, err, msha.ErrInvalid)
	for _, part := range []string{`broker name ""`, `broker name "a"`, `broker name "namesrv"`, "negative limit", "delay level 1"} {
		require.ErrorContains(t, err, part)
	}
}

func TestTopicOnSeveralBrokers(t *testing.T) {
	f := start(t, &embedmq.Options{Brokers: []string{name, "broker-b", "broker-c"}, Cluster: "east"})
	masters, err := f.mq.Brokers(f.ctx)
	require.NoError(t, err)
	require.Len(t, masters, 3)
	for broker, queues := range map[string]int{name: 1, "broker-b": 2} {
		require.NoError(t, f.mq.CreateTopic(f.ctx, f.BrokerAddr(broker), remoting.TopicConfig{Name: "topic", Read: queues, Write: queues}))
	}
	qs, err := f.mq.Queues(f.ctx, "topic", true)
	require.NoError(t, err)
	require.Equal(t, []remoting.Queue{{Topic: "topic", Broker: name}, {Topic: "topic", Broker: "broker-b"}, {Topic: "topic", Broker: "broker-b", ID: 1}}, qs)
	for _, q := range qs {
		f.put(q, 0, 2) // each queue counts for itself
	}
	r, err := f.mq.Route(f.ctx, "topic")
	require.NoError(t, err)
	require.Len(t, r.Brokers, 2)
	require.Equal(t, "east", r.Brokers[0].Cluster)

	f.kill()
	qs, err = f.mq.Queues(f.ctx, "topic", true)
	require.NoError(t, err)
	require.Len(t, qs, 2, "a dead broker leaves the route")
	f.put(qs[0], 2, 1)
	require.NoError(t, f.Restart(name, embedmq.KeepAll))
	qs, err = f.mq.Queues(f.ctx, "topic", true)
	require.NoError(t, err)
	require.Len(t, qs, 3)
	require.Equal(t, []string{"m0", "m1"}, f.bodies(qs[0]))
}

// EnsureTopic creates what is missing, and waits until the name server lists it: here it does not know the topic yet, for the first questions.
func TestEnsureTopic(t *testing.T) {
	f := start(t, &embedmq.Options{Brokers: []string{"broker-a", "broker-b"}})
	require.NoError(t, f.mq.CreateTopic(f.ctx, f.BrokerAddr("broker-a"), remoting.TopicConfig{Name: "T", Read: 3, Write: 3}))
	created := f.Inject(embedmq.Fault{Code: remoting.ReqUpdateAndCreateTopic, Delay: time.Nanosecond})
	unknown := f.Inject(embedmq.Fault{Code: remoting.ReqGetRouteInfoByTopic, Error: remoting.RespTopicNotExist, Times: 3})
	require.NoError(t, f.mq.EnsureTopic(f.ctx, remoting.TopicConfig{Name: "U", Read: 1, Write: 1}))
	require.Equal(t, 3, unknown.Hits())
	require.Equal(t, 2, created.Hits(), "once at each broker")
	require.NoError(t, f.mq.EnsureTopic(f.ctx, remoting.TopicConfig{Name: "T", Read: 1, Write: 1}))
	require.Equal(t, 3, created.Hits(), "only where it is missing")
	queues, err := f.mq.Queues(f.ctx, "T", false)
	require.NoError(t, err)
	require.Len(t, queues, 3+1)

	f.Inject(embedmq.Fault{Code: remoting.ReqGetRouteInfoByTopic, Error: remoting.RespTopicNotExist})
	ctx, cancel := context.WithTimeout(f.ctx, 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, f.mq.EnsureTopic(ctx, remoting.TopicConfig{Name: "T", Read: 1, Write: 1}), context.DeadlineExceeded)
}

func TestMembersAreToldOfChanges(t *testing.T) {
	f := start(t, nil)
	f.heartbeat("g", "one")
	f.told("g")
	f.heartbeat("g", "one") // nothing new, nothing told
	other := remoting.NewClient(&remoting.Options{Logger: slog.New(slog.DiscardHandler)})
	defer other.Close()
	second := &fixture{T: t, Cluster: f.Cluster, ctx: f.ctx, mq: remoting.NewCluster([]string{f.NameServer()}, other)}
	second.heartbeat("g", "two")
	f.told("g")
	require.NoError(t, second.mq.Unregister(f.ctx, f.BrokerAddr(name), "two", "g"))
	f.told("g")
	require.Equal(t, []string{"one"}, f.members("g"))
	second.heartbeat("g", "two")
	f.told("g")
	other.Close()
	f.told("g")
	require.Equal(t, []string{"one"}, f.members("g"))
	require.Empty(t, f.asked)
}

func TestLimits(t *testing.T) {
	no := false
	f := start(t, &embedmq.Options{MaxMessageSize: 1000, MaxPullMessages: 3, MaxPullBytes: 1500, AutoCreateTopics: &no})
	q := f.queue("topic")
	require.ErrorIs(t, f.send(q, string(make([]byte, 1001))), msha.ErrTooLarge)
	require.ErrorIs(t, f.send(remoting.Queue{Topic: "new", Broker: name}, "x"), msha.ErrNotFound)
	f.put(q, 0, 5)
	res, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "readers"})
	require.NoError(t, err)
	require.Len(t, res.Messages, 3)
	for range 2 {
		require.NoError(t, f.send(q, string(make([]byte, 1000))))
	}
	res, err = f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "readers", Offset: 5})
	require.NoError(t, err)
	require.Len(t, res.Messages, 1)
}
