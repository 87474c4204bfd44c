package consume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

const (
	shutdownTimeout = 60 * time.Second // of Shutdown, whose interface has no context
	releaseTimeout  = 10 * time.Second // of giving back, once it is known what can be given back
)

// Shutdown is Close with a limit of 60 s.
func (e *Engine) Shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	return e.Close(ctx)
}

// Close stops starting messages, waits for running handlers until ctx ends, publishes facts, commits, gives the queues back and
// unregisters. The error names handlers that did not end in time: what they finish later may repeat, and their queues' next holder
// waits until this client's locks cannot be trusted any more. Repeated calls do nothing.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	begun := e.state == stateStarted
	switch e.state {
	case stateStarted:
		e.state = stateStopping
	case stateNew:
		e.state = stateStopped
		e.cancel()
	}
	e.mu.Unlock()
	if !begun { // or another call is at it
		return nil
	}
	e.stopJoining()
	<-e.joinDone
	hung := e.dropAll(ctx)
	err := errors.Join(hung, e.within(ctx, e.releaseDrained), e.within(ctx, e.unregister))
	e.mu.Lock()
	e.state = stateStopped
	e.mu.Unlock()
	e.cancel()
	if hung == nil {
		e.wg.Wait()
	}
	return err
}

// within gives a step of the shutdown its time, whatever the one before has taken.
func (e *Engine) within(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	return step(ctx)
}

// dropAll drops every queue and waits for the running handlers.
func (e *Engine) dropAll(ctx context.Context) error {
	e.mu.Lock()
	all := slices.Collect(maps.Values(e.queues))
	for _, h := range all {
		e.drop(h)
	}
	e.mu.Unlock()
	err := e.await(ctx, func() bool {
		return !slices.ContainsFunc(all, func(h *held) bool { return h.running > 0 })
	})
	if err == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for _, h := range all {
		if h.running > 0 {
			names = append(names, fmt.Sprintf("%s (%d)", h.queue, h.running))
		}
	}
	slices.Sort(names)
	return msha.Errorf("consume.shutdown", strings.Join(names, ", "), "let the handlers obey their context", "handlers still running: %w", err)
}

// releaseDrained gives back every queue that nothing runs of.
func (e *Engine) releaseDrained(ctx context.Context) error {
	e.mu.Lock()
	var drained []*held
	for _, h := range e.queues {
		if h.running == 0 {
			drained = append(drained, h)
		}
	}
	e.mu.Unlock()
	for {
		err := e.release(ctx, drained)
		if err == nil || ctx.Err() != nil {
			return err
		}
		e.cfg.Logger.Warn("queues not given back, trying again", "error", err)
		pause(ctx, retryInterval)
	}
}

func (e *Engine) unregister(ctx context.Context) error {
	addrs, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return err
	}
	return eachBroker(ctx, addrs, func(ctx context.Context, _, addr string) error {
		return e.cfg.Cluster.Unregister(ctx, addr, e.cfg.ClientID, e.set.group)
	})
}
