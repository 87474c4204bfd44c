package replicate

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// layout extends the layout document for new queues and creates the replica queues.
func (r *Replicator) layout(ctx context.Context, target *remoting.Cluster, unit, topic string, queues []remoting.Queue) (Layout, error) {
	replica, err := ReplicaName(topic, r.origin)
	if err != nil {
		return Layout{}, err
	}
	brokers, err := target.Brokers(ctx)
	if err != nil {
		return Layout{}, err
	}
	var names []string
	for b := range brokers {
		names = append(names, b)
	}
	if len(names) == 0 {
		return Layout{}, msha.Errorf("replicate.layout", unit, "start its brokers", "%w: no broker is registered", msha.ErrNotFound)
	}
	for { // until nothing was missing: of two processes that create the topic at once, the one with the older layout may be the later
		layout, err := r.extendLayout(ctx, r.layoutKey(unit), func(l Layout) (Layout, bool) { return l.assign(queues, replica, names) })
		if err != nil {
			return layout, err
		}
		created, err := grow(ctx, target, unit, replica, layout, brokers)
		if err != nil || !created {
			return layout, err
		}
	}
}

// reprovision creates the replica topic of a queue again if the target has lost it.
func (r *Replicator) reprovision(ctx context.Context, unit string, q remoting.Queue) error {
	ctx, cancel := context.WithTimeout(ctx, r.opts.timeout)
	defer cancel()
	target := r.sites.Known(unit)
	if target == nil {
		return nil
	}
	_, err := r.layout(ctx, target, unit, q.Topic, []remoting.Queue{q})
	return err
}

// topicMissing reports whether a broker answered that it has no such topic.
func topicMissing(err error) bool {
	var answer *remoting.BrokerError
	return errors.As(err, &answer) && answer.Code == remoting.RespTopicNotExist
}

// grow creates the replica queues that are missing.
func grow(ctx context.Context, target *remoting.Cluster, unit, replica string, layout Layout, brokers map[string]string) (created bool, err error) {
	for broker, n := range layout.sizes(replica) {
		addr := brokers[broker]
		if addr == "" {
			return created, msha.Errorf("replicate.layout", unit+"/"+broker, "start the broker", "%w: a broker that holds replica queues is not registered", msha.ErrNotFound)
		}
		have, err := target.TopicConfig(ctx, addr, replica)
		if err != nil && !errors.Is(err, msha.ErrNotFound) {
			return created, err
		}
		if have.Read < n || have.Write < n {
			if err := target.CreateTopic(ctx, addr, remoting.TopicConfig{Name: replica, Read: max(n, have.Read), Write: max(n, have.Write)}); err != nil {
				return created, err
			}
			created = true
		}
	}
	return created, nil
}

func (r *Replicator) extendLayout(ctx context.Context, key string, edit func(Layout) (Layout, bool)) (layout Layout, err error) {
	err = msha.Update(ctx, r.store, key, func(doc msha.Document) ([]byte, error) {
		old, err := parseLayout(key, doc.Value)
		if err != nil {
			return nil, err
		}
		changed := false
		if layout, changed = edit(old); !changed {
			return doc.Value, nil
		}
		return json.Marshal(layout)
	})
	return layout, err
}

func (r *Replicator) layoutKey(unit string) string {
	return msha.LayoutKey + "." + r.origin + "." + unit
}
