package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/replicate"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/tagging"
)

// closeTimeout is how long a process that was told to end waits for its handlers.
const closeTimeout = 30 * time.Second

// takeOverTimeout is how long a switch that has moved its city waits to count what was taken over. The script goes on then, as it does with
// the loop.
const takeOverTimeout = 250 * time.Millisecond

func mshaChannel(ctx context.Context, p *program) error {
	w, err := p.worker()
	if err != nil {
		return err
	}
	u, err := agent.Join(ctx, p.Unit, p.store, &agent.Options{InstanceName: p.Name, Logger: p.log})
	if err != nil {
		return err
	}
	c, err := u.NewPushConsumer(consumer.WithGroupName(p.Group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithConsumeGoroutineNums(handlers))
	if err != nil {
		return err
	}
	err = c.Subscribe(p.Topic, consumer.MessageSelector{}, func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range ms {
			if !w.work(m, m.ReconsumeTimes) {
				return consumer.ConsumeRetryLater, nil
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	p.serving()
	<-ctx.Done()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return u.Close(closing)
}

func mshaReplicator(ctx context.Context, p *program) error {
	r, err := replicate.New(p.Unit, p.store, &replicate.Options{Topics: []string{p.Topic}, Logger: p.log})
	if err != nil {
		return err
	}
	p.serving()
	return r.Run(ctx)
}

// mshaSide is this library.
type mshaSide struct{}

func (mshaSide) name() string { return "msha" }

func (mshaSide) title() string { return "msha" }

func (mshaSide) library() bool { return true }

func (mshaSide) channel() string { return "msha.channel" }

func (mshaSide) copier() string { return "msha.replicator" }

func (mshaSide) prepare(ctx context.Context, w *world) error {
	values, units := map[string][]string{}, &msha.Units{}
	for city, unit := range home {
		values[unit] = append(values[unit], city)
	}
	for _, unit := range []string{unit1, unit2} {
		units.Units = append(units.Units, msha.UnitInfo{Name: unit, NameServers: []string{w.servers.NameServers[unit]}, State: "live"})
	}
	table, err := route.New([]string{unit1, unit2}, values)
	if err != nil {
		return err
	}
	if err := route.Init(ctx, w.store, table, units); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(w.dir, "manager.out"))
	if err != nil {
		return err
	}
	w.manager, err = manager.New(ctx, w.store, &manager.Options{Logger: slog.New(slog.NewTextHandler(f, nil)), TakeOverTimeout: takeOverTimeout})
	if err != nil {
		return err
	}
	w.ends = append(w.ends, func() error {
		defer f.Close() //nolint:errcheck // a log
		return w.manager.Close()
	})
	return nil
}

func (mshaSide) producer(w *world, unit string) (rocketmq.Producer, error) {
	u, err := agent.Join(w.ctx, unit, w.store, &agent.Options{Value: tagging.FromProperty(cityProperty), Logger: quiet})
	if err != nil {
		return nil, err
	}
	w.ends = append(w.ends, func() error { return u.Close(context.WithoutCancel(w.ctx)) })
	p, err := u.NewProducer(producer.WithGroupName("mtr"), producer.WithRetry(0))
	if err != nil {
		return nil, err
	}
	return p, p.Start()
}

func (mshaSide) move(ctx context.Context, w *world, city, to string) error {
	report, err := w.manager.Switch(ctx, msha.SwitchRequest{Values: []string{city}, To: to, Deadline: patience})
	w.say("%s", report)
	return err
}

func (mshaSide) force(ctx context.Context, w *world, cities []string, to string) error {
	report, err := w.manager.Switch(ctx, msha.SwitchRequest{Values: cities, To: to, Forced: true, Deadline: patience})
	w.say("%s", report)
	return err
}

func (mshaSide) behind(ctx context.Context, w *world) (int64, error) {
	sum, err := w.lags(ctx, func(unit string) []lagOf {
		return []lagOf{{w.topic(), w.group()}, {msha.ReplicaTopic(w.topic(), otherUnit(unit)), w.group()}, {retryTopic(w.group()), w.group()}}
	})
	if err != nil {
		return 0, fmt.Errorf("lag: %w", err)
	}
	table, err := route.Load(ctx, w.store)
	if err != nil {
		return 0, err
	}
	for unit := range w.servers.NameServers {
		if table.Away(unit) { // its new owners hold back what it may have processed
			sum++
		}
		made, err := w.servers.length(ctx, unit, w.topic())
		if err != nil {
			return 0, err
		}
		copied, err := w.servers.length(ctx, otherUnit(unit), msha.ReplicaTopic(w.topic(), unit))
		if err != nil {
			return 0, err
		}
		if copied < made {
			sum += made - copied
		}
	}
	return sum, nil
}
