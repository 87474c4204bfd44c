package main

import (
	"context"
	"errors"

	"github.com/go-msha/msha"
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

// createTopic makes the topic on every broker of a cluster that does not have it. One that is there stays as it is.
func createTopic(ctx context.Context, nameServers []string, topic string) error {
	client := remoting.NewClient(nil)
	defer client.Close()
	cl := remoting.NewCluster(nameServers, client)
	brokers, err := cl.Brokers(ctx)
	if err != nil {
		return err
	}
	for _, addr := range brokers {
		if _, err := cl.TopicConfig(ctx, addr, topic); !errors.Is(err, msha.ErrNotFound) {
			if err != nil {
				return err
			}
			continue
		}
		if err := cl.CreateTopic(ctx, addr, remoting.TopicConfig{Name: topic, Read: 4, Write: 4, Perm: remoting.PermRead | remoting.PermWrite}); err != nil {
			return err
		}
	}
	return nil
}
