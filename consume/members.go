package consume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// members keeps the client registered and its queues allocated until the engine ends.
func (e *Engine) members() {
	for e.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(e.ctx, callTimeout)
		missing, err := e.rebalance(ctx)
		cancel()
		if err != nil && e.ctx.Err() == nil {
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
		case <-e.ctx.Done():
		}
	}
}

// topics lists what the group subscribes: each home topic with its replica topics, and the retry topic.
func (e *Engine) topics() map[string]topicOf {
	units := e.cfg.OtherUnits()
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]topicOf{e.retry: {}}
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
// linearizably, so that the one that has confirmed already is known here.
func (e *Engine) heartbeat(ctx context.Context) error {
	asked := time.Now()
	e.mu.Lock()
	joined := asked.Sub(e.lastSeen) < e.cfg.GateWindow
	e.mu.Unlock()
	if !joined {
		if err := e.cfg.Enter(ctx); err != nil {
			e.cfg.Logger.Warn("roster not entered", "error", err) // join decides what that means
		}
	}
	seen, err := e.register(ctx)
	if !seen {
		return err
	}
	if !joined {
		if err := e.join(ctx); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastSeen = asked
	e.broadcast()
	return nil // one broker is enough to go on; the others are tried again
}

// join reads the table once this process can be seen. Without the metastore the unit's own log will do for a process that has worked
// before (promise P6): a switch writes its version there before it looks who is gone.
func (e *Engine) join(ctx context.Context) error {
	t, err := e.cfg.Fresh(ctx)
	if err == nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.applyTable(t)
		return nil
	}
	known := e.currentTable()
	if e.lastSeen.IsZero() {
		return err
	}
	brokers, berr := e.cfg.Cluster.Brokers(ctx)
	if berr != nil {
		return errors.Join(err, berr)
	}
	for broker := range brokers {
		if lerr := e.readLog(ctx, broker); lerr != nil {
			return errors.Join(err, lerr)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if newest := e.tracker.NewestAck(); newest > known.Version {
		return fmt.Errorf("table version %d is not the newest (%d): %w", known.Version, newest, err)
	}
	e.cfg.Logger.Warn("joined again without the metastore: the unit's log shows no newer table", "version", known.Version, "error", err)
	return nil
}

// register sends the heartbeats; seen tells whether a broker lists this client.
func (e *Engine) register(ctx context.Context) (seen bool, err error) {
	addrs, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return false, err
	}
	data := remoting.ConsumerData{GroupName: e.set.group, Type: "CONSUME_PASSIVELY", Model: "CLUSTERING", From: fromName(e.set.from)}
	for name, t := range e.topics() {
		s := remoting.SubscriptionData{Topic: name, SubString: "*", ExpressionType: "TAG", Tags: []string{}, Codes: []int32{}}
		if t.sub != nil {
			s.SubVersion = t.sub.version
			if x := t.sub.selector.Expression; x != "" && x != "*" {
				s.SubString, s.Tags = x, splitTags(x)
				for _, tag := range s.Tags {
					s.Codes = append(s.Codes, remoting.TagHash(tag))
				}
			}
		}
		data.Subscriptions = append(data.Subscriptions, s)
	}
	slices.SortFunc(data.Subscriptions, func(a, b remoting.SubscriptionData) int { return strings.Compare(a.Topic, b.Topic) })
	for _, addr := range addrs {
		if herr := e.cfg.Cluster.Heartbeat(ctx, addr, &remoting.HeartbeatData{ClientID: e.cfg.ClientID, Producers: []remoting.ProducerData{}, Consumers: []remoting.ConsumerData{data}}); herr != nil {
			err = errors.Join(err, herr)
			continue
		}
		ids, lerr := e.cfg.Cluster.ConsumerIDs(ctx, addr, e.set.group)
		err = errors.Join(err, lerr)
		seen = seen || slices.Contains(ids, e.cfg.ClientID)
	}
	if !seen && err == nil {
		err = msha.Errorf("consume.register", e.cfg.ClientID, "", "client %w in the brokers' consumer lists", msha.ErrNotFound)
	}
	return seen, err
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

// memberIDs are the group's client ids over all brokers, sorted.
func (e *Engine) memberIDs(ctx context.Context) ([]string, error) {
	addrs, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for _, addr := range addrs {
		ids, err := e.cfg.Cluster.ConsumerIDs(ctx, addr, e.set.group)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			set[id] = true
		}
	}
	return slices.Sorted(maps.Keys(set)), nil
}

// missingTick is how often what is missing is looked for: a topic that is not there yet, a queue whose holder still finishes.
const missingTick = 500 * time.Millisecond

// rebalance registers, computes which queues are this client's, gives up the others and takes new ones. missing says that a subscribed
// topic or the lock of a queue was not to be had.
func (e *Engine) rebalance(ctx context.Context) (missing bool, err error) {
	if err := e.heartbeat(ctx); err != nil {
		return false, err
	}
	if err := e.openLogs(ctx); err != nil {
		return false, err
	}
	if err := e.acknowledgeReturned(ctx); err != nil {
		return false, err
	}
	ids, err := e.memberIDs(ctx)
	if err != nil {
		return false, err
	}
	want, missing, err := e.allocation(ctx, ids)
	if err != nil {
		return missing, err
	}
	e.mu.Lock()
	var drop []*held
	for q, h := range e.queues {
		if t, ok := want[q]; !h.dropped && (!ok || t.home != h.home) {
			drop = append(drop, h)
		}
	}
	running := e.state == stateStarted
	e.mu.Unlock()
	if !running {
		return false, nil
	}
	for _, h := range drop {
		e.giveUp(h)
	}
	err = e.renew(ctx)
	busy, aerr := e.acquire(ctx, want)
	return missing || busy, errors.Join(err, aerr, e.voidDead(ctx, ids))
}

// allocation is what client-go's strategy gives this client of every subscribed topic.
func (e *Engine) allocation(ctx context.Context, ids []string) (want map[remoting.Queue]topicOf, missing bool, err error) {
	want = map[remoting.Queue]topicOf{}
	for name, t := range e.topics() {
		queues, err := e.cfg.Cluster.Queues(ctx, name, false)
		if errors.Is(err, msha.ErrNotFound) { // nobody has written to it, or nothing is copied yet
			missing = true
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
		broker := e.logOf(r.Queue)
		if broker == "" {
			continue
		}
		if _, err := e.appendLog(ctx, broker, r); err != nil {
			return err
		}
		e.cfg.Logger.Info("failed message of a dead process reclaimed", "message", r.Origin().String(), "process", r.Client)
	}
	return nil
}

// logOf is the broker whose log holds the facts of an origin queue.
func (e *Engine) logOf(q msha.OriginQueue) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.queues {
		if h.home == q.Topic && (h.unit == q.Unit || h.unit == "" && q.Unit == e.cfg.Unit) {
			if h.unit != "" || h.queue.Broker == q.Broker {
				return h.queue.Broker
			}
		}
	}
	return ""
}
