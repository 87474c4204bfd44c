package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/replicate"
	"github.com/go-msha/msha/tagging"
)

const (
	topic = "SMS"
	group = "channel"
)

// unit is one site: cluster, gateway, consumer, database and replicator.
type unit struct {
	name     string
	cluster  *embedmq.Cluster
	joined   *agent.Unit
	gateway  *gateway
	database *database
	stop     context.CancelFunc // of the replicator
	stopped  chan error
}

func startCluster(name string) (*unit, error) {
	c, err := embedmq.Start(&embedmq.Options{Brokers: []string{"broker-" + name}})
	if err != nil {
		return nil, err
	}
	return &unit{name: name, cluster: c, database: &database{}}, nil
}

// start joins the unit once the documents are there.
func (u *unit) start(ctx context.Context, store msha.MetaStore, log *slog.Logger) (err error) {
	if u.joined, err = agent.Join(ctx, u.name, store, &agent.Options{Logger: log}); err != nil {
		return err
	}
	p, err := u.joined.NewProducer(producer.WithGroupName("gateway"), producer.WithRetry(2))
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	u.gateway = &gateway{send: func(city, key string) error {
		_, err := p.SendSync(tagging.With(ctx, city), primitive.NewMessage(topic, []byte("SMS to "+city)).WithKeys([]string{key}))
		return err
	}}
	r, err := replicate.New(u.name, store, &replicate.Options{Topics: []string{topic}, Discover: 100 * time.Millisecond, Logger: log})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	u.stop, u.stopped = stop, make(chan error, 1)
	go func() { u.stopped <- r.Run(running) }()
	return u.consume()
}

// consume starts the handler: an ordinary one, that writes each message into the unit's database.
func (u *unit) consume() error {
	c, err := u.joined.NewPushConsumer(consumer.WithGroupName(group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return err
	}
	handle := func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range msgs {
			if err := u.database.write(m.GetKeys()); err != nil {
				return consumer.ConsumeRetryLater, nil
			}
		}
		return consumer.ConsumeSuccess, nil
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{}, handle); err != nil {
		return err
	}
	return c.Start()
}

func (u *unit) close(ctx context.Context) error {
	var err error
	if u.joined != nil {
		err = u.joined.Close(ctx)
	}
	if u.stop != nil {
		u.stop()
		err = errors.Join(err, <-u.stopped)
	}
	u.cluster.Close()
	return err
}
