package main

import (
	"context"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
)

// cluster is one unit's RocketMQ for the demo.
type cluster interface{ NameServer() string }

// startCluster starts an embedded cluster, or a real RocketMQ on free ports of this machine.
func startCluster(ctx context.Context, real bool, name string) (cluster, func(), error) {
	if real {
		c, err := realmq.Start(ctx, &realmq.Options{Version: "5.4.0", Brokers: []string{"broker-" + name}})
		if err != nil {
			return nil, nil, err
		}
		return c, c.Stop, nil
	}
	c, err := embedmq.Start(&embedmq.Options{Brokers: []string{"broker-" + name}})
	if err != nil {
		return nil, nil, err
	}
	return c, c.Close, nil
}

// createTopic makes the topic on every broker of a cluster.
func createTopic(ctx context.Context, nameServers []string, topic string) error {
	client := remoting.NewClient(nil)
	defer client.Close()
	cl := remoting.NewCluster(nameServers, client)
	brokers, err := cl.Brokers(ctx)
	if err != nil {
		return err
	}
	for _, addr := range brokers {
		if err := cl.CreateTopic(ctx, addr, remoting.TopicConfig{Name: topic, Read: 4, Write: 4, Perm: 6}); err != nil {
			return err
		}
	}
	return nil
}
