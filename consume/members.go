package consume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// members keeps the client registered and its queues allocated until the engine stops.
func (e *Engine) members() {
	defer close(e.joinDone)
	for e.joining.Err() == nil {
		missing, err := e.rebalance(e.joining)
		if err != nil && e.joining.Err() == nil {
			e.cfg.Logger.Warn("rebalance failed, trying again", "error", err)
			e.cfg.Cluster.Forget()
		}
		tick := e.cfg.Tick
		if missing {
			tick = min(tick, missingTick)
		}
		select {
		case <-e.notify:
		case <-time.After(tick):
		case <-e.joining.Done():
		}
	}
}

// topics lists what the group subscribes: each home topic with its replica topics, and the retry topic, which is of no use before.
func (e *Engine) topics() map[string]topicOf {
	units := e.cfg.OtherUnits()
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]topicOf{}
	if len(e.subs) > 0 {
		out[e.retry] = topicOf{}
	}
	for name, sub := range e.subs {
		out[name] = topicOf{home: name, sub: sub}
		for _, u := range units {
			out[msha.ReplicaTopic(name, u)] = topicOf{home: name, unit: u, sub: sub}
		}
	}
	return out
}

type topicOf struct {
	home, unit string
	sub        *subscription
}

// heartbeat registers at every broker and notes when this client was seen in a consumer list: that keeps the gate open. At the start,
// and when the gate has lapsed, a switch may have passed this process over. Then it joins anew: first the roster, so that the
// next switch waits for it; then the brokers' lists, so that the one that is confirming now sees it; then the table, read
// linearizably, so that the one that has confirmed already is known here. As long as it could not enter the roster it tries again: a switch would
// take it for a stranger.
func (e *Engine) heartbeat(ctx context.Context) (*members, error) {
	e.mu.Lock()
	seen := e.lastSeen
	joined, first := e.cfg.Now().Sub(seen) < e.cfg.GateWindow, seen.IsZero()
	e.entered = e.entered && joined
	entered := e.entered
	e.mu.Unlock()
	outside := error(nil)
	if !entered {
		if outside = e.askStore(ctx, first, e.cfg.Enter); outside != nil {
			if first {
				return nil, outside
			}
			e.cfg.Logger.Warn("roster not entered, trying again", "error", outside)
		}
	}
	asked := e.cfg.Now()
	m, err := e.register(ctx)
	if err != nil {
		return nil, err
	}
	if joined && e.cfg.Now().Sub(seen) >= e.cfg.GateWindow { // it was on its way for so long that a switch may have passed this process over
		return e.heartbeat(ctx)
	}
	if !joined {
		if err := e.join(ctx, first, outside); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastSeen, e.entered = asked, outside == nil
	e.wakeAll()
	return m, nil
}

// askStore has the metastore do something. At the start there is nothing else to go by, so it gets all the time there is.
func (e *Engine) askStore(ctx context.Context, first bool, f func(context.Context) error) error {
	if first {
		return f(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, e.limits.store)
	defer cancel()
	return f(ctx)
}

// join reads the table once this process can be seen. Without the metastore the unit's own log will do for a process that has worked
// before (promise P6): a switch writes its version there before it looks who is gone. outside says why the roster could not be entered: with a
// metastore that answers, the process stays out, since the next switch could come at once and would not wait for it.
func (e *Engine) join(ctx context.Context, first bool, outside error) error {
	var t *msha.Table
	err := e.askStore(ctx, first, func(ctx context.Context) (err error) {
		t, err = e.cfg.Fresh(ctx)
		return err
	})
	if err == nil && outside != nil {
		return fmt.Errorf("roster not entered: %w", outside)
	}
	if err == nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.applyTable(t)
		return nil
	}
	if first {
		return err
	}
	brokers, berr := e.cfg.Cluster.Brokers(ctx)
	if berr != nil {
		return errors.Join(err, berr)
	}
	lerr := eachBroker(ctx, brokers, func(ctx context.Context, broker, _ string) error { return e.readLog(ctx, broker) })
	if lerr != nil {
		return errors.Join(err, lerr)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if newest := e.tracker.NewestAck(); newest > e.table.Version {
		return fmt.Errorf("table version %d is not the newest (%d): %w", e.table.Version, newest, err)
	}
	e.cfg.Logger.Warn("joined again without the metastore: the unit's log shows no newer table", "version", e.table.Version, "error", err)
	return nil
}

// members is who consumes in the group, as the brokers see it.
type members struct {
	ids      []string // over all brokers that answered, sorted
	complete bool     // all registered brokers answered
}

// register sends the heartbeats and asks for the members. A broker that does not answer has no say; one that lists this client is
// enough to go on.
func (e *Engine) register(ctx context.Context) (*members, error) {
	addrs, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return nil, err
	}
	data := &remoting.HeartbeatData{ClientID: e.cfg.ClientID, Producers: []remoting.ProducerData{}, Consumers: []remoting.ConsumerData{e.consumerData()}}
	m, err := e.listMembers(ctx, addrs, func(ctx context.Context, addr string) error { return e.cfg.Cluster.Heartbeat(ctx, addr, data) })
	if slices.Contains(m.ids, e.cfg.ClientID) {
		return m, nil
	}
	if err == nil {
		err = msha.Errorf("consume.register", e.cfg.ClientID, "", "client %w in the brokers' consumer lists", msha.ErrNotFound)
	}
	return nil, err
}

// listMembers asks every broker for the group's members, after what is to be done there first.
func (e *Engine) listMembers(ctx context.Context, addrs map[string]string, first func(ctx context.Context, addr string) error) (*members, error) {
	set := map[string]bool{}
	var mu sync.Mutex
	err := eachBroker(ctx, addrs, func(ctx context.Context, _, addr string) error {
		if err := first(ctx, addr); err != nil {
			return err
		}
		ids, err := e.cfg.Cluster.ConsumerIDs(ctx, addr, e.set.group)
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			set[id] = true
		}
		return err
	})
	return &members{ids: slices.Sorted(maps.Keys(set)), complete: err == nil}, err
}

func (e *Engine) consumerData() remoting.ConsumerData {
	data := remoting.ConsumerData{GroupName: e.set.group, Type: "CONSUME_PASSIVELY", Model: "CLUSTERING", From: fromName(e.set.from), Subscriptions: []remoting.SubscriptionData{}}
	for name, t := range e.topics() {
		sub := t.sub
		if sub == nil { // the retry topic: what is in it was wanted
			sub = &subscription{}
		}
		data.Subscriptions = append(data.Subscriptions, sub.data(name))
	}
	slices.SortFunc(data.Subscriptions, func(a, b remoting.SubscriptionData) int { return strings.Compare(a.Topic, b.Topic) })
	return data
}

func fromName(f consumer.ConsumeFromWhere) string {
	switch f {
	case consumer.ConsumeFromFirstOffset:
		return "CONSUME_FROM_FIRST_OFFSET"
	case consumer.ConsumeFromTimestamp:
		return "CONSUME_FROM_TIMESTAMP"
	}
	return "CONSUME_FROM_LAST_OFFSET"
}

// missingTick is how often what is missing is looked for: a topic that is not there yet, a queue whose holder still finishes.
const missingTick = 500 * time.Millisecond

// rebalance registers, computes which queues are this client's, gives up the others and takes new ones. missing says that a subscribed
// topic or the lock of a queue was not to be had.
func (e *Engine) rebalance(ctx context.Context) (missing bool, err error) {
	m, err := e.heartbeat(ctx)
	if err != nil {
		return false, err
	}
	logCtx, cancel := context.WithTimeout(ctx, e.limits.call)
	err = errors.Join(e.openLogs(logCtx), e.acknowledgeReturned(logCtx)) // what needs them waits; the others go on
	cancel()
	want, missing, werr := e.allocation(ctx, m.ids)
	if werr != nil {
		return missing, errors.Join(err, werr)
	}
	e.mu.Lock()
	for q, h := range e.queues {
		if t, ok := want[q]; !ok || t.home != h.home || t.sub != h.sub {
			e.giveUp(h)
		}
	}
	e.mu.Unlock()
	busy, aerr := e.acquire(ctx, want)
	err = errors.Join(err, aerr, e.releaseStrays(ctx))
	if m.complete {
		err = errors.Join(err, e.voidDead(ctx, m.ids))
	}
	return missing || busy, err
}

// allocation is what client-go's strategy gives this client of every subscribed topic.
func (e *Engine) allocation(ctx context.Context, ids []string) (want map[remoting.Queue]topicOf, missing bool, err error) {
	want = map[remoting.Queue]topicOf{}
	for name, t := range e.topics() {
		queues, err := e.cfg.Cluster.Queues(ctx, name, false)
		if errors.Is(err, msha.ErrNotFound) { // nobody has written to it, or nothing is copied yet
			missing = true
			e.miss(name, t)
			continue
		}
		if err != nil {
			return nil, missing, err
		}
		for _, q := range e.allocate(queues, ids) {
			want[q] = t
		}
	}
	return want, missing, nil
}

// allocate runs client-go's strategy over one topic.
func (e *Engine) allocate(queues []remoting.Queue, ids []string) []remoting.Queue {
	all := make([]*primitive.MessageQueue, len(queues))
	for i, q := range queues {
		all[i] = &primitive.MessageQueue{Topic: q.Topic, BrokerName: q.Broker, QueueId: q.ID}
	}
	var out []remoting.Queue
	for _, q := range e.set.strategy(e.set.group, e.cfg.ClientID, all, ids) {
		out = append(out, remoting.Queue{Topic: q.Topic, Broker: q.BrokerName, ID: q.QueueId})
	}
	return out
}

// voidDead closes Opens whose writer died before its retry copy was known to be stored.
func (e *Engine) voidDead(ctx context.Context, ids []string) error {
	e.mu.Lock()
	records := e.tracker.Voidable(func(client string) bool { return slices.Contains(ids, client) })
	e.mu.Unlock()
	for _, r := range records {
		e.mu.Lock()
		local, held := e.tracker.LocalOf(r.Queue)
		e.mu.Unlock()
		if !held {
			continue
		}
		if _, err := e.appendLog(ctx, local.Broker, r); err != nil {
			return err
		}
		e.cfg.Logger.Info("failed message of a dead process reclaimed", "message", r.Origin().String(), "process", r.Client)
	}
	return nil
}
