package consume

import (
	"context"
	"errors"
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
		err := e.rebalance(ctx)
		cancel()
		if err != nil && e.ctx.Err() == nil {
			e.cfg.Logger.Warn("rebalance failed, trying again", "error", err)
			e.cfg.Cluster.Forget()
		}
		select {
		case <-e.notify:
		case <-time.After(e.cfg.Tick):
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

// heartbeat registers at every broker and notes when this client was seen in a consumer list.
func (e *Engine) heartbeat(ctx context.Context) error {
	addrs, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return err
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
	var all error
	seen := false
	for _, addr := range addrs {
		if err := e.cfg.Cluster.Heartbeat(ctx, addr, &remoting.HeartbeatData{ClientID: e.cfg.ClientID, Producers: []remoting.ProducerData{}, Consumers: []remoting.ConsumerData{data}}); err != nil {
			all = errors.Join(all, err)
			continue
		}
		ids, err := e.cfg.Cluster.ConsumerIDs(ctx, addr, e.set.group)
		all = errors.Join(all, err)
		seen = seen || slices.Contains(ids, e.cfg.ClientID)
	}
	if seen {
		e.mu.Lock()
		e.lastSeen = time.Now()
		e.broadcast()
		e.mu.Unlock()
		return nil // one broker is enough to go on; the others are tried again
	}
	return all
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

// rebalance registers, computes which queues are this client's, gives up the others and takes new ones.
func (e *Engine) rebalance(ctx context.Context) error {
	if err := e.heartbeat(ctx); err != nil {
		return err
	}
	if err := e.openLogs(ctx); err != nil {
		return err
	}
	ids, err := e.memberIDs(ctx)
	if err != nil {
		return err
	}
	want := map[remoting.Queue]topicOf{}
	for name, t := range e.topics() {
		queues, err := e.cfg.Cluster.Queues(ctx, name, false)
		if errors.Is(err, msha.ErrNotFound) {
			continue // a topic nobody has written to, or nothing is copied yet
		}
		if err != nil {
			return err
		}
		for _, q := range e.allocate(queues, ids) {
			want[q] = t
		}
	}
	var all error
	e.mu.Lock()
	state := e.state
	var drop []*held
	for q, h := range e.queues {
		if t, ok := want[q]; !ok || t.home != h.home {
			drop = append(drop, h)
		}
	}
	e.mu.Unlock()
	if state != 1 {
		return nil
	}
	for _, h := range drop {
		e.beginDrop(h)
	}
	for _, h := range drop {
		h := h
		e.wg.Go(func() {
			if err := e.release(e.ctx, h); err != nil && e.ctx.Err() == nil {
				e.cfg.Logger.Warn("queue not given back cleanly", "queue", h.queue.String(), "error", err)
			}
		})
	}
	all = errors.Join(all, e.renew(ctx))
	for _, q := range slices.SortedFunc(maps.Keys(want), func(a, b remoting.Queue) int { return strings.Compare(a.String(), b.String()) }) {
		e.mu.Lock()
		have := e.queues[q] != nil
		e.mu.Unlock()
		if !have {
			all = errors.Join(all, e.acquire(ctx, q, want[q]))
		}
	}
	return errors.Join(all, e.voidDead(ctx, ids))
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
		if err := e.appendLog(ctx, broker, r); err != nil {
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
