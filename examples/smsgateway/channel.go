package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
)

// Channel consumes messages and hands them to the carrier of its unit. Its handler is an ordinary client-go handler.
type Channel struct {
	Unit     string
	Carrier  *Carrier
	Consumer rocketmq.PushConsumer
	Log      *slog.Logger
	Breaker  int64 // failures in a row after which the channel stops consuming; 0: never

	failures atomic.Int64
}

// Handle is the handler given to Subscribe: a failed delivery is retried by RocketMQ's usual rules.
func (c *Channel) Handle(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	for _, m := range msgs {
		if err := c.Carrier.Deliver(ctx, m.MsgId); err != nil {
			failed := c.failures.Add(1)
			c.Log.Warn("delivery failed", "id", m.MsgId, "unit", c.Unit, "attempt", m.ReconsumeTimes+1, "error", err)
			if c.Breaker > 0 && failed == c.Breaker {
				c.Log.Warn("carrier failed repeatedly: channel stops consuming", "unit", c.Unit, "failures", failed)
				c.Consumer.Suspend()
			}
			return consumer.ConsumeRetryLater, nil
		}
		c.failures.Store(0)
		from := m.GetProperty(msha.PropertyUnit)
		c.Log.Info(fmt.Sprintf("message from %s", from), "id", m.MsgId, "value", m.GetProperty(msha.PropertyRoute), "unit", c.Unit, "origin", from)
	}
	return consumer.ConsumeSuccess, nil
}

// Repair makes the channel consume again after its breaker opened.
func (c *Channel) Repair() {
	c.failures.Store(0)
	c.Consumer.Resume()
}
