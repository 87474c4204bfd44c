package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/replicate"
)

// How often brokers are asked, and how long an answer may take.
const (
	lagEvery     = 5 * time.Second
	pendingEvery = 15 * time.Second
	askTimeout   = 20 * time.Second
)

// replicator is what is shown of one; tests have others.
type replicator interface {
	msha.Replicator
	Stats() replicate.Stats
	Pending(ctx context.Context) ([]msha.PendingMessages, error)
}

// seen is what the brokers answered last.
type seen struct {
	at   time.Time // zero: never
	took time.Duration
	err  error
}

// observer asks for lag and pending messages in the background, so that neither metrics nor the progress line wait for brokers.
type observer struct {
	r   replicator
	log *slog.Logger

	mu          sync.Mutex
	lags        []msha.QueueLag
	lag         seen
	pending     []msha.PendingMessages
	pendingSeen seen
}

func newObserver(r replicator, log *slog.Logger) *observer { return &observer{r: r, log: log} }

func (o *observer) run(ctx context.Context) {
	tick := time.NewTicker(lagEvery / 20)
	defer tick.Stop()
	for ctx.Err() == nil {
		o.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// look asks for what is due.
func (o *observer) look(ctx context.Context) {
	o.mu.Lock()
	lagDue, pendingDue := time.Since(o.lag.at) >= lagEvery, time.Since(o.pendingSeen.at) >= pendingEvery
	o.mu.Unlock()
	if !o.r.Stats().Sharing {
		return
	}
	if lagDue {
		o.askLag(ctx)
	}
	if pendingDue {
		o.askPending(ctx)
	}
}

func (o *observer) askLag(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	start := time.Now()
	lags, err := o.r.Lag(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	if (err != nil) != (o.lag.err != nil) && ctx.Err() == nil {
		o.log.Debug("lag", "error", err)
	}
	o.lags, o.lag = lags, seen{time.Now(), time.Since(start), err}
}

func (o *observer) askPending(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	start := time.Now()
	pending, err := o.r.Pending(ctx)
	for _, p := range pending {
		if err == nil {
			err = p.Err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if (err != nil) != (o.pendingSeen.err != nil) && ctx.Err() == nil {
		o.log.Warn("delayed and half messages that wait at the origin", "error", err)
	}
	o.pending, o.pendingSeen = pending, seen{time.Now(), time.Since(start), err}
}

// last is what was seen last; the slices are not changed any more.
func (o *observer) last() (lags []msha.QueueLag, lag seen, pending []msha.PendingMessages, pendingSeen seen) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lags, o.lag, o.pending, o.pendingSeen
}
