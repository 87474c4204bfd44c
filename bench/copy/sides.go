//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/replicate"
)

const pullMessages = 1024 // asked for; brokers give 32 by default

func (b *bench) rawPull(ctx context.Context, s setting) (result, error) {
	each := int64(s.messages / s.queues)
	m := newMeter()
	err := perQueue(s.queues, func(id int) error {
		q := remoting.Queue{Topic: topic, Broker: originBroker, ID: id}
		for next := int64(0); next < each; {
			res, err := b.from.PullRecords(ctx, remoting.PullRequest{Queue: q, Group: "bench", Offset: next, Max: pullMessages})
			if err != nil {
				return err
			}
			if len(res.Records) == 0 {
				return fmt.Errorf("nothing at %d", next)
			}
			next = res.NextOffset
		}
		return nil
	})
	return m.result(s.messages), err
}

func (b *bench) rawSend(ctx context.Context, s setting, round int) (result, error) {
	name := fmt.Sprint("sent-", round)
	if err := createTopic(ctx, b.to, name, s.queues); err != nil {
		return result{}, err
	}
	m := newMeter()
	err := perQueue(s.queues, func(id int) error {
		q := remoting.Queue{Topic: name, Broker: targetBroker, ID: id}
		for _, batch := range b.batches {
			_, err := b.to.SendEncoded(ctx, q, "bench", time.Now().UnixMilli(), func(dst []byte) []byte { return append(dst, batch...) })
			if err != nil {
				return err
			}
		}
		return nil
	})
	return m.result(s.messages), err
}

// replicator copies everything to a target unit that is new to it.
func (b *bench) replicator(ctx context.Context, s setting, unit string) (res result, err error) {
	store := memory.New()
	defer store.Close() //nolint:errcheck // in memory
	value, err := json.Marshal(msha.Units{Units: []msha.UnitInfo{
		{Name: "unit-" + unit, NameServers: []string{b.origin.NameServer()}, State: "live"},
		{Name: "target", NameServers: []string{b.nameServer(s.delay)}, State: "live"},
	}})
	if err != nil {
		return res, err
	}
	if _, err := store.Put(ctx, msha.UnitsKey, value, 0); err != nil {
		return res, err
	}
	r, err := replicate.New("unit-"+unit, store, &replicate.Options{Topics: []string{topic}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return res, err
	}
	r.Pause(topic)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	for { // all queues have found their position
		lag, err := r.Lag(ctx)
		if err == nil && len(lag) == s.queues {
			break
		}
		select {
		case err := <-ended:
			ended <- err
			return res, fmt.Errorf("it ended: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	time.Sleep(time.Second + 10*s.delay)
	err = profiled(func() error {
		m := newMeter()
		r.Resume(topic)
		err := r.Sync(ctx, topic)
		res = m.result(s.messages)
		return err
	})
	return res, err
}
