package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/go-msha/msha"
)

// The hand-written side. What it does well:
//
//   - Copies carry a mark, so they are not copied back. A copy is acknowledged at the origin after the target has stored it.
//   - The table is watched in the metastore, not polled, and every process has it a few milliseconds after a change.
//   - A switch does not let both units work at once: one change tells the old owner to start no more and the new owner to let the city's
//     messages wait; after a grace in which the old owner's handlers end, another change lets them go. Nothing that arrives during a switch is lost.
//   - A message that failed is tried again where it failed, whoever owns its city by then: nobody else would. Both units may work for the
//     city then, but not with the same message.
//   - A process that is told to end lets its handlers end before it commits and leaves.
//
// What a unit skips it acknowledges: the other cluster has a copy. So at a switch the new owner has acknowledged the copies of what the
// old one has not got to, and these are lost. The usual remedy is to reset a consumer group by time. Resetting the
// application's own group would repeat all its cities, so the replay uses a group of its own, of one process, that takes only the city that
// moved, and only up to where the application's own group begins to keep its messages. It finds what was skipped within its ten seconds, and with
// it what the old owner did in them.
//
// If a city comes back before its old owner has got to the end of its backlog, that goes on with it, and repeats what the other unit has done meanwhile.
//
// The loop keeps no record of what was done: one that both sites share would cost each message a round trip between sites, and would have to survive
// the loss of either.

const (
	loopTableKey = "loop.table"
	copiedFrom   = "copied-from"
	grace        = slowWorkTime + 100*time.Millisecond // for handlers to end and for the news to arrive
	overlap      = 100 * time.Millisecond              // of a replay with what is kept: rather repeated than lost
)

// loopTable is the loop's routing table, by city.
type loopTable map[string]loopRoute

type loopRoute struct {
	Owner  string
	Held   bool // the owner lets messages wait
	Replay *loopReplay
}

// loopReplay lets the owner read again what it has skipped. The offsets of the group say from where.
type loopReplay struct {
	Group string
	Until time.Time
}

// loopRoutes follows the table.
type loopRoutes struct {
	mu      sync.Mutex
	table   loopTable
	changed chan struct{} // closed at the next change
}

// owns says whether a unit has to process a city's messages; it waits while they are held.
func (r *loopRoutes) owns(unit, city string) bool {
	for {
		r.mu.Lock()
		route, changed := r.table[city], r.changed
		r.mu.Unlock()
		if route.Owner != unit || !route.Held {
			return route.Owner == unit
		}
		<-changed
	}
}

// owner of a city.
func (r *loopRoutes) owner(city string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table[city].Owner
}

func (r *loopRoutes) set(t loopTable) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed != nil {
		close(r.changed)
	}
	r.table, r.changed = t, make(chan struct{})
}

func loopChannel(ctx context.Context, p *program) error {
	w, err := p.worker()
	if err != nil {
		return err
	}
	docs, err := p.store.Watch(ctx, loopTableKey)
	if err != nil {
		return err
	}
	routes := &loopRoutes{}
	next := func() (loopTable, error) {
		var t loopTable
		err := json.Unmarshal((<-docs).Value, &t)
		return t, err
	}
	first, err := next()
	if err != nil {
		return fmt.Errorf("%s: %w", loopTableKey, err)
	}
	routes.set(first)

	var running sync.RWMutex // read-locked by each handler; locked for good when the process ends
	c, err := loopConsumer(p, p.Group, func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		running.RLock()
		defer running.RUnlock()
		for _, m := range ms {
			if m.ReconsumeTimes == 0 && !routes.owns(p.Unit, m.GetProperty(cityProperty)) {
				continue
			}
			if !w.work(m, m.ReconsumeTimes) {
				return consumer.ConsumeRetryLater, nil
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	replays := &replays{program: p, worker: w, routes: routes, begun: map[string]bool{}}
	p.serving()
	for {
		t, err := next()
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", loopTableKey, err)
		}
		routes.set(t)
		if err := replays.follow(t); err != nil {
			return err
		}
	}
	return leave(&running, c)
}

// leave lets running handlers end and starts no more, then commits.
func leave(running *sync.RWMutex, c rocketmq.PushConsumer) error {
	running.Lock()
	time.Sleep(200 * time.Millisecond) // client-go takes note of the last results
	return c.Shutdown()
}

func loopConsumer(p *program, group string, handle func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)) (rocketmq.PushConsumer, error) {
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer([]string{p.Servers[p.Unit]}), consumer.WithInstance(p.Name+"-"+group), consumer.WithGroupName(group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithConsumeGoroutineNums(handlers))
	if err != nil {
		return nil, err
	}
	if err := c.Subscribe(p.Topic, consumer.MessageSelector{}, handle); err != nil {
		return nil, err
	}
	return c, c.Start()
}

// replays are the consumers that one process of each unit begins after switches; an operator would end them some time later, here they end
// with the process.
type replays struct {
	*program
	worker *worker
	routes *loopRoutes
	begun  map[string]bool
}

// follow begins the replays that its unit is told to do; one ends if the city moves away.
func (r *replays) follow(t loopTable) error {
	for city, route := range t {
		if !r.Replay || route.Owner != r.Unit || route.Held || route.Replay == nil || r.begun[route.Replay.Group] {
			continue
		}
		r.begun[route.Replay.Group] = true
		_, err := loopConsumer(r.program, route.Replay.Group, func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, m := range ms {
				if m.GetProperty(cityProperty) != city || m.StoreTimestamp >= route.Replay.Until.UnixMilli() || r.routes.owner(city) != r.Unit {
					continue
				}
				for attempt := int32(0); !r.worker.work(m, attempt); attempt++ {
				}
			}
			return consumer.ConsumeSuccess, nil
		})
		if err != nil {
			return fmt.Errorf("replay of %s: %w", city, err)
		}
	}
	return nil
}

// loopCopier sends what is produced in its unit to the other one.
func loopCopier(ctx context.Context, p *program) error {
	to, err := loopProducer(p.Servers[otherUnit(p.Unit)], p.Name)
	if err != nil {
		return err
	}
	var running sync.RWMutex
	c, err := loopConsumer(p, p.Group, func(ctx context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		running.RLock()
		defer running.RUnlock()
		for _, m := range ms {
			if m.GetProperty(copiedFrom) != "" {
				continue
			}
			copied := primitive.NewMessage(p.Topic, m.Body).WithKeys([]string{m.GetKeys()})
			copied.WithProperty(cityProperty, m.GetProperty(cityProperty))
			copied.WithProperty(copiedFrom, p.Unit)
			if _, err := to.SendSync(ctx, copied); err != nil {
				return consumer.ConsumeRetryLater, nil
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	p.serving()
	<-ctx.Done()
	return leave(&running, c)
}

func loopProducer(nameServer, instance string) (rocketmq.Producer, error) {
	p, err := rocketmq.NewProducer(producer.WithNameServer([]string{nameServer}), producer.WithInstanceName(instance), producer.WithGroupName("mtr"), producer.WithRetry(0))
	if err != nil {
		return nil, err
	}
	return p, p.Start()
}

// changeLoopTable is a compare-and-set.
func changeLoopTable(ctx context.Context, store msha.MetaStore, city string, route loopRoute) error {
	doc, err := store.Get(ctx, loopTableKey)
	if err != nil {
		return err
	}
	var t loopTable
	if err := json.Unmarshal(doc.Value, &t); err != nil {
		return err
	}
	t[city] = route
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = store.Put(ctx, loopTableKey, value, doc.Revision)
	return err
}
