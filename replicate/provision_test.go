package replicate

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

// A target that comes back without the replica topic gets it again, and then all copies.
func TestALostReplicaTopicIsCreatedAgain(t *testing.T) {
	ctx, store, no := context.Background(), memory.New(), false
	client := remoting.NewClient(nil)
	t.Cleanup(client.Close)
	sites, units := map[string]*site{}, msha.Units{}
	for _, name := range []string{"unit-1", "unit-2"} {
		c, err := embedmq.Start(&embedmq.Options{Brokers: []string{"broker-" + name}, AutoCreateTopics: &no})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		sites[name] = &site{c, remoting.NewCluster([]string{c.NameServer()}, client)}
		units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: []string{c.NameServer()}, State: "live"})
	}
	value, err := json.Marshal(units)
	require.NoError(t, err)
	_, err = store.Put(ctx, msha.UnitsKey, value, 0)
	require.NoError(t, err)
	origin, target := sites["unit-1"], sites["unit-2"]
	origin.createTopic(t, "SMS", 1)
	origin.produce(t, "SMS", 60)
	r, _ := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	require.NoError(t, target.mq.DeleteTopic(ctx, target.BrokerAddr("broker-unit-2"), "SMS-from-unit-1"))
	origin.produce(t, "SMS", 60)
	target.reaches(t, replicaQueue("SMS", 0), 120)
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
}
