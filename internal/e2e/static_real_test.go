//go:build real

package e2e

import (
	"encoding/json"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/internal/remoting"
)

// updateStaticTopic is RocketMQ's UPDATE_AND_CREATE_STATIC_TOPIC.
const updateStaticTopic = 513

// TestStaticTopicOnRealRocketMQ: a topic whose offsets do not identify messages is refused where a consumer starts.
func TestStaticTopicOnRealRocketMQ(t *testing.T) {
	w := start(t, onReal, ownership, "unit-1", "unit-2")
	const topic, broker = "static-topic", "broker-unit-1"
	client := remoting.NewClient(&remoting.Options{Logger: w.log})
	defer client.Close()
	cluster := remoting.NewCluster([]string{w.sites["unit-1"].NameServer()}, client)
	brokers, err := cluster.Brokers(w.ctx)
	require.NoError(t, err)
	mapping, err := json.Marshal(map[string]any{
		"topic": topic, "scope": "__global__", "totalQueues": 1, "epoch": 1, "bname": broker, "dirty": false, "currIdMap": map[string]int{"0": 0},
		"hostedQueues": map[string]any{"0": []map[string]any{{"gen": 0, "queueId": 0, "bname": broker, "logicOffset": 0, "startOffset": 0, "endOffset": -1, "timeOfStart": -1, "timeOfEnd": -1}}},
	})
	require.NoError(t, err)
	resp, err := client.Call(w.ctx, brokers[broker], remoting.NewRequest(updateStaticTopic, map[string]string{
		"topic": topic, "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1", "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false", "force": "false",
	}, mapping))
	require.NoError(t, err)
	require.Zero(t, resp.Code, resp.Remark)
	w.eventually("the name server knows it", func() bool {
		r, err := cluster.Route(w.ctx, topic)
		return err == nil && r.Static
	})

	u, err := agent.Join(w.ctx, "unit-1", w.store, &agent.Options{Logger: w.log, Access: access})
	require.NoError(t, err)
	defer func() { require.NoError(t, u.Close(w.ctx)) }()
	c, err := u.NewPushConsumer(consumer.WithGroupName(w.group))
	require.NoError(t, err)
	require.NoError(t, c.Subscribe(topic, consumer.MessageSelector{}, (&member{}).handle))
	err = c.Start()
	require.ErrorIs(t, err, msha.ErrUnsupported)
	require.ErrorContains(t, err, topic)
}
