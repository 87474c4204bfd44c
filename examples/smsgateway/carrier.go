package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Carrier stands for the operator network that delivers the SMS of one unit.
type Carrier struct {
	Unit        string
	Journal     *Journal
	Latency     time.Duration // of each delivery
	FailureRate float64       // 0..1, chosen at random per delivery

	down atomic.Bool
}

var errCarrierDown = errors.New("carrier does not answer")

// SetDown makes every delivery fail (true) or work again (false).
func (c *Carrier) SetDown(down bool) { c.down.Store(down) }

// Deliver hands one message over; it blocks for Latency. An error means that the carrier did not take the message.
func (c *Carrier) Deliver(ctx context.Context, id string) error {
	if c.Latency > 0 {
		select {
		case <-time.After(c.Latency):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if c.down.Load() || rand.Float64() < c.FailureRate {
		c.Journal.Refused(c.Unit)
		return errCarrierDown
	}
	c.Journal.Processed(c.Unit, id)
	return nil
}
