package main

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
)

// world is two units on embedded clusters.
type world struct {
	*testing.T
	clusters map[string]*embedmq.Cluster
	mq       map[string]*remoting.Cluster
}

func startWorld(t *testing.T, store msha.MetaStore) *world {
	t.Helper()
	w := &world{T: t, clusters: map[string]*embedmq.Cluster{}, mq: map[string]*remoting.Cluster{}}
	client := remoting.NewClient(nil)
	t.Cleanup(client.Close)
	var units msha.Units
	for _, name := range []string{"unit-1", "unit-2"} {
		c, err := embedmq.Start(&embedmq.Options{Brokers: []string{"broker-" + name}})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		w.clusters[name], w.mq[name] = c, remoting.NewCluster([]string{c.NameServer()}, client)
		units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: []string{c.NameServer()}, State: "live"})
	}
	value, err := json.Marshal(units)
	require.NoError(t, err)
	_, err = store.Put(t.Context(), msha.UnitsKey, value, 0)
	require.NoError(t, err)
	require.NoError(t, w.mq["unit-1"].CreateTopic(t.Context(), w.clusters["unit-1"].BrokerAddr("broker-unit-1"), remoting.TopicConfig{Name: "SMS", Read: 2, Write: 2}))
	return w
}

// queue is one of the two queues of the origin's topic.
func queue(id int) remoting.Queue {
	return remoting.Queue{Topic: "SMS", Broker: "broker-unit-1", ID: id}
}

// produce stores n messages in each queue.
func (w *world) produce(n int, properties ...string) {
	w.Helper()
	for i := range n {
		m := &remoting.Message{Body: fmt.Appendf(nil, "message %d", i), Properties: map[string]string{"UNIQ_KEY": fmt.Sprintf("key-%d", i), "KEYS": "k"}}
		for j := 0; j+1 < len(properties); j += 2 {
			m.Properties[properties[j]] = properties[j+1]
		}
		for id := range 2 {
			_, err := w.mq["unit-1"].Send(w.Context(), queue(id), "p", m)
			require.NoError(w, err)
		}
	}
}

// copies is the number of copies in unit-2.
func (w *world) copies() (n int64) {
	for id := range 2 {
		end, err := w.mq["unit-2"].MaxOffset(w.Context(), remoting.Queue{Topic: "SMS-from-unit-1", Broker: "broker-unit-2", ID: id})
		if err == nil {
			n += end
		}
	}
	return n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 10*time.Millisecond, what)
}
