package consume

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// begin says, the first time the group is managed in a home topic, where it begins in all the queues that the topic has at that moment. A queue
// that is added later begins at its first message, whatever the options say:
//
//	a queue is added → producers find it and store messages → this process finds it: its end is behind messages that nobody has processed
//
// The first broker's log decides of what several processes have seen at the same time. Each broker's log says it of the broker's own queues.
func (e *Engine) begin(ctx context.Context, topic, broker string) error {
	if e.hasBegun(topic, broker) {
		return nil
	}
	if err := e.beginning.take(ctx); err != nil {
		return err
	}
	defer e.beginning.give()
	if e.hasBegun(topic, broker) {
		return nil
	}
	seen, err := e.seeQueues(ctx, topic)
	if err != nil {
		return err
	}
	addrs, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return err
	}
	if err := eachBroker(ctx, addrs, func(ctx context.Context, broker, _ string) error { return e.readLog(ctx, broker) }); err != nil {
		return err // its log may say it
	}
	brokers := slices.Sorted(maps.Keys(addrs))
	if known, begun := e.extent(topic); begun {
		seen = known
	} else if len(brokers) > 0 {
		if err := e.beginAt(ctx, topic, brokers[0], seen); err != nil {
			return err
		}
		seen, _ = e.extent(topic)
	}
	return eachBroker(ctx, addrs, func(ctx context.Context, broker, _ string) error {
		if e.hasBegun(topic, broker) {
			return nil
		}
		return e.beginAt(ctx, topic, broker, seen)
	})
}

func (e *Engine) hasBegun(topic, broker string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.tracker.Facts().Begun(e.cfg.Unit, broker, topic)
	return ok
}

func (e *Engine) extent(topic string) (filter.Extent, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tracker.Facts().Extent(e.cfg.Unit, topic)
}

// seeQueues counts a topic's queues: none if it was not there when this process looked for it first.
func (e *Engine) seeQueues(ctx context.Context, topic string) (filter.Extent, error) {
	e.mu.Lock()
	missed := e.missed[topic]
	e.mu.Unlock()
	if missed {
		return filter.Extent{}, nil
	}
	queues, err := e.cfg.Cluster.Queues(ctx, topic, false)
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return nil, err
	}
	x := filter.Extent{}
	for _, q := range queues {
		x.Add(q.Broker, q.ID)
	}
	return x, nil
}

// beginAt writes to one broker's log where the group begins in the topic's queues there, and reads the log behind that.
func (e *Engine) beginAt(ctx context.Context, topic, broker string, x filter.Extent) error {
	e.mu.Lock()
	in := e.in
	e.mu.Unlock()
	starts := map[int]int64{}
	for id := range x[broker] {
		h := &held{queue: remoting.Queue{Topic: topic, Broker: broker, ID: id}, home: topic, in: in}
		if e.isKnown(h.queue) {
			continue
		}
		start, err := e.beginOf(ctx, h)
		switch {
		case errors.Is(err, msha.ErrGap): // to be reported when it is opened, and to begin when somebody has looked after it
		case err != nil:
			return err
		default:
			starts[id] = start
		}
	}
	end, err := e.appendLog(ctx, broker, filter.Begin(e.set.group, e.cfg.Unit, broker, topic, x, starts, in)...)
	if err != nil {
		return err
	}
	return e.readTo(ctx, map[string]int64{broker: end})
}

// isKnown tells whether it is said of a home queue by itself where the group begins there.
func (e *Engine) isKnown(q remoting.Queue) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, known := e.tracker.Facts().Baseline(e.homeOrigin(q))
	return known
}

// beginOf is where the group begins in a queue that is there when it begins with the topic.
func (e *Engine) beginOf(ctx context.Context, h *held) (int64, error) {
	committed, err := e.cfg.Cluster.CommittedOffset(ctx, e.set.group, h.queue)
	if errors.Is(err, msha.ErrNotFound) {
		return e.optional(ctx, h)
	}
	if err != nil {
		return 0, err
	}
	return e.withinQueue(ctx, h, committed)
}

// added tells whether a home queue was not there yet when the group began with its topic.
func (e *Engine) added(h *held) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, begun := e.tracker.Facts().Begun(e.cfg.Unit, h.queue.Broker, h.queue.Topic)
	return begun && h.queue.ID >= n
}

// miss notes that a topic is not there. Whatever it has one day is added then.
func (e *Engine) miss(topic string, t topicOf) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.home != topic || e.missed[topic] {
		return
	}
	e.missed[topic] = true
	e.wg.Go(func() { e.beginAbsent(topic) })
}

// beginAbsent writes it down for other processes.
func (e *Engine) beginAbsent(topic string) {
	for backoff := retryInterval; e.joining.Err() == nil; backoff = min(2*backoff, lastBackoff) {
		addrs, err := e.cfg.Cluster.Brokers(e.joining)
		for broker := range addrs {
			err = errors.Join(err, e.begin(e.joining, topic, broker))
		}
		if err == nil && len(addrs) > 0 {
			return
		}
		if e.joining.Err() == nil {
			e.cfg.Logger.Warn("that a topic is not there could not be written down, trying again", "topic", topic, "error", err)
		}
		pause(e.joining, backoff)
	}
}
