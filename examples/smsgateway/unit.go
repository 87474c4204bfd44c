package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

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

	joined  *agent.Unit        // nil if neither of the two does
	stop    context.CancelFunc // of the replicator; nil if it does not run here
	stopped chan struct{}
}

// startUnit starts the parts of one unit that the gateway's roles name. Store and unit name are all they need to know.
func (g *gateway) startUnit(ctx context.Context, info msha.UnitInfo, carrier *Carrier) (_ *unit, err error) {
	u := &unit{name: info.Name}
	defer func() {
		if err != nil {
			closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, u.close(closeCtx))
		}
	}()
	if g.roles["mtr"] || g.roles["channel"] {
		if err = createTopic(ctx, info.NameServers, topic); err != nil {
			return nil, err
		}
		if u.joined, err = agent.Join(ctx, info.Name, g.store, &agent.Options{Logger: g.log}); err != nil {
			return nil, err
		}
	}
	if g.roles["mtr"] {
		if err = u.startMTR(carrier.Journal, g.log); err != nil {
			return nil, err
		}
	}
	if g.roles["channel"] {
		if err = u.startChannel(carrier, g.log); err != nil {
			return nil, err
		}
	}
	if g.roles["replicator"] {
		return u, u.startReplicator(ctx, g)
	}
	return u, nil
}

func (u *unit) startMTR(journal *Journal, log *slog.Logger) error {
	p, err := u.joined.NewProducer(producer.WithGroupName("mtr"), producer.WithRetry(2))
	if err != nil {
		return err
	}
	u.mtr = &MTR{Unit: u.name, Topic: topic, Producer: p, Journal: journal, Log: log}
	return p.Start()
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

func (u *unit) startReplicator(ctx context.Context, g *gateway) error {
	r, err := replicate.New(u.name, g.store, &replicate.Options{Topics: []string{topic}, Logger: g.log, Discover: time.Second})
	if err != nil {
		return err
	}
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	u.stop, u.stopped = stop, make(chan struct{})
	go func() {
		defer close(u.stopped)
		if err := r.Run(runCtx); err != nil {
			g.fail(fmt.Errorf("replicator of %s: %w", u.name, err))
		}
	}()
	return nil
}

// close shuts the parts down: consumers drain, producers close, the replicator finishes its batches.
func (u *unit) close(ctx context.Context) error {
	var err error
	if u.joined != nil {
		err = u.joined.Close(ctx)
	}
	if u.stop != nil {
		u.stop()
		<-u.stopped
	}
	return err
}
