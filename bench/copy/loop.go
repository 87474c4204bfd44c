//go:build unix

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// most bounds what the slow sides copy in a round.
func (s setting) most(batch int) int {
	switch {
	case s.delay > 0:
		return 10_000
	case batch == 1:
		return min(s.messages, 10_000)
	}
	return s.messages
}

// loop is what a user would write: up to batch messages at a time. It counts from the first message that the consumer gives.
func (b *bench) loop(ctx context.Context, s setting, round, batch int) (res result, err error) {
	name, want := fmt.Sprintf("looped-%d-%d", batch, round), s.most(batch)
	if err := createTopic(ctx, b.to, name, s.queues); err != nil {
		return res, err
	}
	p, err := rocketmq.NewProducer(producer.WithNameServer([]string{b.nameServer(s.delay)}), producer.WithInstanceName("p-"+name), producer.WithGroupName(name))
	if err != nil {
		return res, err
	}
	if err := p.Start(); err != nil {
		return res, err
	}
	defer p.Shutdown() //nolint:errcheck // measured already
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer([]string{b.origin.NameServer()}), consumer.WithInstance("c-"+name), consumer.WithGroupName(name),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithConsumeMessageBatchMaxSize(batch))
	if err != nil {
		return res, err
	}
	var first sync.Once
	var m meter
	var sent atomic.Int64
	done := make(chan result, 1)
	failed := make(chan error, 1)
	handler := func(ctx context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		first.Do(func() { m = newMeter() })
		copies := make([]*primitive.Message, len(ms))
		for i, from := range ms {
			copies[i] = primitive.NewMessage(name, from.Body)
			copies[i].WithProperties(from.GetProperties())
		}
		if _, err := p.SendSync(ctx, copies...); err != nil {
			select {
			case failed <- err:
			default:
			}
			return consumer.ConsumeRetryLater, nil
		}
		if n := sent.Add(int64(len(ms))); n >= int64(want) && n-int64(len(ms)) < int64(want) {
			done <- m.result(int(n))
		}
		return consumer.ConsumeSuccess, nil
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{}, handler); err != nil {
		return res, err
	}
	if err := c.Start(); err != nil {
		return res, err
	}
	defer c.Shutdown() //nolint:errcheck // measured already
	select {
	case res = <-done:
		return res, nil
	case err := <-failed:
		return res, err
	case <-ctx.Done():
		return res, ctx.Err()
	}
}
