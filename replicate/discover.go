package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

var errUnknownOrigin = errors.New("the origin is not in the unit document")

// discover finds units, topics and queues, offers them to be shared, and starts a pipe for each queue of this process's shares that has
// none. A unit that does not answer uses up no other unit's time.
func (r *Replicator) discover(ctx context.Context) error {
	targets, origin, topics, err := r.look(ctx)
	if err != nil {
		return err
	}
	queues, all := r.queues(ctx, origin, topics)
	for _, u := range targets {
		r.sharing.offer(sharesOf(u.Name, queues))
	}
	for _, u := range targets {
		all = errors.Join(all, r.connectUnit(ctx, u, queues))
	}
	return all
}

// queues are the origin's queues by topic; of the topics that could be looked up, if there is an error.
func (r *Replicator) queues(ctx context.Context, origin *remoting.Cluster, topics []string) (map[string][]remoting.Queue, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.timeout)
	defer cancel()
	out := map[string][]remoting.Queue{}
	var all error
	for _, topic := range topics {
		queues, err := origin.Queues(ctx, topic, false)
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		out[topic] = queues
	}
	return out, all
}

func sharesOf(unit string, queues map[string][]remoting.Queue) []share {
	seen := map[share]bool{}
	for topic, qs := range queues {
		for _, q := range qs {
			seen[share{unit, topic, q.Broker}] = true
		}
	}
	return slices.Collect(maps.Keys(seen))
}

// look reads the unit document and the origin's topics.
func (r *Replicator) look(ctx context.Context) (targets []msha.UnitInfo, origin *remoting.Cluster, topics []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.timeout)
	defer cancel()
	if err := r.history.Ready(ctx); err != nil {
		return nil, nil, nil, err
	}
	units, err := readUnits(ctx, r.store)
	if err != nil {
		return nil, nil, nil, err
	}
	info, ok := units.Find(r.origin)
	if !ok {
		return nil, nil, nil, msha.Errorf("replicate.run", r.origin, "known units: "+strings.Join(units.Names(), ", "), "unit %w: %w", msha.ErrNotFound, errUnknownOrigin)
	}
	if origin, err = r.sites.Reach(ctx, info); err != nil {
		return nil, nil, nil, err
	}
	topics, err = r.topics(ctx, origin, units.Names())
	return r.targets(units), origin, topics, err
}

// targets are the units to copy to.
func (r *Replicator) targets(units *msha.Units) []msha.UnitInfo {
	return slices.DeleteFunc(slices.Clone(units.Units), func(u msha.UnitInfo) bool {
		return u.Name == r.origin || r.opts.Targets != nil && !slices.Contains(r.opts.Targets, u.Name)
	})
}

func (r *Replicator) connectUnit(ctx context.Context, u msha.UnitInfo, queues map[string][]remoting.Queue) error {
	ctx, cancel := context.WithTimeout(ctx, r.opts.timeout)
	defer cancel()
	target, all := r.sites.Reach(ctx, u) // also if there is nothing new: pipes follow the name servers and the access of today
	if all != nil {
		return all
	}
	for topic, qs := range queues {
		if ctx.Err() != nil {
			break
		}
		all = errors.Join(all, r.connect(ctx, target, u.Name, topic, qs))
	}
	return all
}

// readUnits reads the unit document. ErrInvalid if it does not parse.
func readUnits(ctx context.Context, store msha.MetaStore) (*msha.Units, error) {
	doc, err := store.Get(ctx, msha.UnitsKey)
	if err != nil {
		return nil, err
	}
	units := &msha.Units{}
	if err := json.Unmarshal(doc.Value, units); err != nil {
		return nil, msha.Errorf("replicate.units", msha.UnitsKey, "", "%w: %v", msha.ErrInvalid, err)
	}
	return units, nil
}

func (r *Replicator) topics(ctx context.Context, origin *remoting.Cluster, units []string) ([]string, error) {
	all, err := origin.TopicList(ctx)
	if err != nil {
		return nil, err
	}
	brokers, err := origin.Brokers(ctx)
	if err != nil {
		return nil, err
	}
	clusters, err := origin.ClusterNames(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, name := range clusters {
		names[name] = true
	}
	var out []string
	for _, t := range all {
		if copied(t, r.opts.Topics, r.opts.Deny, units, brokers, names) {
			out = append(out, t)
		}
	}
	return out, nil
}

// connect makes sure that every queue of a topic that this process has to copy has a replica queue at the target and a running pipe.
func (r *Replicator) connect(ctx context.Context, target *remoting.Cluster, unit, topic string, queues []remoting.Queue) error {
	var fresh []remoting.Queue
	for _, q := range queues {
		r.mu.Lock()
		runs := r.pipes[pipeKey{unit, q}] != nil
		r.mu.Unlock()
		if !runs && r.sharing.holding(share{unit, topic, q.Broker}) != nil {
			fresh = append(fresh, q)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	layout, err := r.layout(ctx, target, unit, topic, fresh)
	if err != nil {
		return err
	}
	handed, err := r.readCheckpoint(ctx, unit)
	if err != nil { // the tails will do
		r.opts.Logger.Debug("positions were not read", "origin", r.origin, "target", unit, "error", err)
	}
	for _, q := range fresh {
		to, _ := layout.find(q)
		least, _ := handed.find(q)
		r.start(unit, q, to, least)
	}
	return nil
}

// start runs the pipe of a queue, unless its share was given up meanwhile.
func (r *Replicator) start(unit string, from, to remoting.Queue, least mark) {
	h := r.sharing.holding(share{unit, from.Topic, from.Broker})
	if h == nil {
		return
	}
	p := &pipe{
		from:   msha.OriginQueue{Unit: r.origin, Broker: from.Broker, Topic: from.Topic, Queue: from.ID},
		source: from, target: to, unit: unit, origin: r.sites.Following(r.origin), remote: r.sites.Following(unit), opts: &r.opts, turn: h.turn, copied: least,
		limits: r.limits.of(from.Topic), count: &r.count, memory: &r.memory,
		provision:  func(ctx context.Context) error { return r.reprovision(ctx, unit, from) },
		checkpoint: func(ctx context.Context) (mark, bool, error) { return r.loadCheckpoint(ctx, unit, from) }, history: r.history,
	}
	p.log = r.opts.Logger.With("origin", p.from.String(), "target", unit)
	r.mu.Lock()
	defer r.mu.Unlock()
	p.pause(r.paused[from.Topic])
	if h.start(p.run) {
		r.pipes[pipeKey{unit, from}] = p
	}
}

// retire forgets the pipes of shares whose pipes have ended, and stores their positions: with the next owner they are a lower bound for
// what the replica queue must show.
func (r *Replicator) retire(shares []share) {
	positions := map[string]map[remoting.Queue]mark{}
	r.mu.Lock()
	for key, p := range r.pipes {
		if !slices.Contains(shares, p.share()) {
			continue
		}
		delete(r.pipes, key)
		if m, ok := p.stored(); ok {
			if positions[p.unit] == nil {
				positions[p.unit] = map[remoting.Queue]mark{}
			}
			positions[p.unit][p.source] = m
		}
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), checkpointTimeout)
	defer cancel()
	for unit, ps := range positions {
		if err := r.saveCheckpoint(ctx, checkpointKey(r.origin, unit), ps); err != nil {
			r.opts.Logger.Debug("checkpoint not stored", "origin", r.origin, "target", unit, "error", err)
		}
	}
}
