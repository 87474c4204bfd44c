package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/replicate"
)

// Names of the gateway's topic and group, the same in every unit.
const (
	topic = "SMS"
	group = "channel"
)

// unit is the gateway of one unit: which parts of it run in this process.
type unit struct {
	name    string
	mtr     *MTR     // nil if role mtr does not run here
	channel *Channel // nil if role channel does not run here

	joined     *agent.Unit
	replicator *replicate.Replicator
	stop       context.CancelFunc // of the replicator
	stopped    chan error
}

// startUnit starts the parts of one unit that the roles name.
func startUnit(ctx context.Context, name string, roles map[string]bool, store msha.MetaStore, carrier *Carrier, log *slog.Logger) (_ *unit, err error) {
	u := &unit{name: name}
	defer func() {
		if err != nil {
			closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, u.close(closeCtx))
		}
	}()
	if u.joined, err = agent.Join(ctx, name, store, &agent.Options{Logger: log}); err != nil {
		return nil, err
	}
	if roles["mtr"] {
		var p rocketmq.Producer
		if p, err = u.joined.NewProducer(producer.WithGroupName("mtr"), producer.WithRetry(2)); err != nil {
			return nil, err
		}
		if err = p.Start(); err != nil {
			return nil, err
		}
		u.mtr = &MTR{Unit: name, Topic: topic, Producer: p, Journal: carrier.Journal, Log: log}
	}
	if roles["channel"] {
		if err = u.startChannel(carrier, log); err != nil {
			return nil, err
		}
	}
	if roles["replicator"] {
		return u, u.startReplicator(ctx, store, log)
	}
	return u, nil
}

func (u *unit) startChannel(carrier *Carrier, log *slog.Logger) error {
	c, err := u.joined.NewPushConsumer(consumer.WithGroupName(group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return err
	}
	u.channel = &Channel{Unit: u.name, Carrier: carrier, Consumer: c, Log: log, Breaker: 5}
	if err := c.Subscribe(topic, consumer.MessageSelector{}, u.channel.Handle); err != nil {
		return err
	}
	return c.Start()
}

func (u *unit) startReplicator(ctx context.Context, store msha.MetaStore, log *slog.Logger) error {
	r, err := replicate.New(u.name, store, &replicate.Options{Topics: []string{topic}, Logger: log, Discover: time.Second})
	if err != nil {
		return err
	}
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	u.replicator, u.stop, u.stopped = r, stop, make(chan error, 1)
	go func() {
		err := r.Run(runCtx)
		if err != nil {
			log.Error("replicator stopped", "origin", u.name, "error", err)
		}
		u.stopped <- err
	}()
	return nil
}

// close shuts the parts down: consumers drain, producers close, the replicator finishes its batches.
func (u *unit) close(ctx context.Context) error {
	var all error
	if u.joined != nil {
		all = u.joined.Close(ctx)
	}
	if u.stop != nil {
		u.stop()
		all = errors.Join(all, <-u.stopped)
	}
	return all
}
