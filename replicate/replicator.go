package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// Replicator copies one unit's messages to other units. It implements msha.Replicator; its methods are safe for concurrent use.
type Replicator struct {
	origin string
	store  msha.MetaStore
	opts   Options
	client *remoting.Client

	stored map[string]map[remoting.Queue]int64 // checkpoints as last stored, by key; Run alone uses it

	mu       sync.Mutex
	running  bool
	clusters map[string]*remoting.Cluster
	servers  map[string]string // name servers a cluster was made with
	pipes    map[pipeKey]*pipe
	paused   map[string]bool
	wg       sync.WaitGroup
}

type pipeKey struct {
	unit  string
	queue remoting.Queue
}

var _ msha.Replicator = (*Replicator)(nil)

// New returns a replicator of the origin unit's messages; nothing is contacted before Run. ErrInvalid for options that cannot work.
func New(origin string, store msha.MetaStore, o *Options) (*Replicator, error) {
	if origin == "" || store == nil {
		return nil, msha.Errorf("replicate.new", origin, "", "%w: an origin unit and a metastore are required", msha.ErrInvalid)
	}
	opts := o.withDefaults()
	if err := opts.validate(origin); err != nil {
		return nil, err
	}
	return &Replicator{
		origin: origin, store: store, opts: opts, clusters: map[string]*remoting.Cluster{}, servers: map[string]string{},
		pipes: map[pipeKey]*pipe{}, paused: map[string]bool{}, stored: map[string]map[remoting.Queue]int64{},
	}, nil
}

// Run copies until ctx ends, then finishes the batches in flight and returns nil. ErrBusy if it runs already; ErrNotFound if the unit
// document does not have the origin. A queue that had to stop (ErrGap) stays stopped and is reported by Lag; the others go on.
func (r *Replicator) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.running {
		r.mu.Unlock()
		return msha.Errorf("replicate.run", r.origin, "", "replicator is %w: it runs already", msha.ErrBusy)
	}
	r.running = true
	r.client = remoting.NewClient(&remoting.Options{Logger: r.opts.Logger})
	r.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		r.wg.Wait()
		r.saveCheckpoints(context.WithoutCancel(ctx))
		r.client.Close()
		r.mu.Lock()
		r.running, r.pipes = false, map[pipeKey]*pipe{}
		clear(r.clusters)
		clear(r.servers)
		r.mu.Unlock()
	}()
	failing, saved := false, time.Now()
	for {
		err := r.discover(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errUnknownOrigin):
			return err
		case err != nil && !failing:
			r.opts.Logger.Warn("discovery failed, copying of known queues goes on", "origin", r.origin, "error", err)
		case err == nil && failing:
			r.opts.Logger.Info("discovery works again", "origin", r.origin)
		}
		failing = err != nil
		if time.Since(saved) >= checkpointEvery {
			r.saveCheckpoints(ctx)
			saved = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(r.opts.Discover):
		}
	}
}

var errUnknownOrigin = errors.New("the origin is not in the unit document")

// discover finds units, topics and queues that have no pipe yet and starts one for each. A unit that does not answer uses up no other
// unit's time.
func (r *Replicator) discover(ctx context.Context) error {
	targets, origin, topics, err := r.look(ctx)
	if err != nil {
		return err
	}
	var all error
	for _, u := range targets {
		all = errors.Join(all, r.connectUnit(ctx, origin, u, topics))
	}
	return all
}

// look reads the unit document and the origin's topics.
func (r *Replicator) look(ctx context.Context) (targets []msha.UnitInfo, origin *remoting.Cluster, topics []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.timeout)
	defer cancel()
	units, err := r.units(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	info, ok := units.Find(r.origin)
	if !ok {
		return nil, nil, nil, msha.Errorf("replicate.run", r.origin, "known units: "+strings.Join(units.Names(), ", "), "unit %w: %w", msha.ErrNotFound, errUnknownOrigin)
	}
	origin = r.cluster(info)
	topics, err = r.topics(ctx, origin, units.Names())
	return r.targets(units), origin, topics, err
}

// targets are the units to copy to.
func (r *Replicator) targets(units *msha.Units) []msha.UnitInfo {
	return slices.DeleteFunc(slices.Clone(units.Units), func(u msha.UnitInfo) bool {
		return u.Name == r.origin || r.opts.Targets != nil && !slices.Contains(r.opts.Targets, u.Name)
	})
}

func (r *Replicator) connectUnit(run context.Context, origin *remoting.Cluster, u msha.UnitInfo, topics []string) error {
	ctx, cancel := context.WithTimeout(run, r.opts.timeout)
	defer cancel()
	var all error
	for _, topic := range topics {
		if ctx.Err() != nil {
			break
		}
		all = errors.Join(all, r.connect(run, ctx, origin, u, topic))
	}
	return all
}

func (r *Replicator) units(ctx context.Context) (*msha.Units, error) {
	doc, err := r.store.Get(ctx, msha.UnitsKey)
	if err != nil {
		return nil, err
	}
	units := &msha.Units{}
	if err := json.Unmarshal(doc.Value, units); err != nil {
		return nil, msha.Errorf("replicate.units", msha.UnitsKey, "", "%w: %v", msha.ErrInvalid, err)
	}
	return units, nil
}

// known is the unit's cluster as the newest unit document has it.
func (r *Replicator) known(unit string) func() *remoting.Cluster {
	return func() *remoting.Cluster {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.clusters[unit]
	}
}

// cluster returns the unit's cluster, a new one if its name servers changed.
func (r *Replicator) cluster(u msha.UnitInfo) *remoting.Cluster {
	r.mu.Lock()
	defer r.mu.Unlock()
	servers := strings.Join(u.NameServers, ";")
	if r.clusters[u.Name] == nil || r.servers[u.Name] != servers {
		r.clusters[u.Name] = remoting.NewCluster(u.NameServers, r.client)
		r.servers[u.Name] = servers
	}
	return r.clusters[u.Name]
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

// connect makes sure that every queue of a topic has a replica queue at the target and a running pipe.
func (r *Replicator) connect(run, ctx context.Context, origin *remoting.Cluster, u msha.UnitInfo, topic string) error {
	queues, err := origin.Queues(ctx, topic, false)
	if err != nil {
		return err
	}
	r.mu.Lock()
	queues = slices.DeleteFunc(queues, func(q remoting.Queue) bool { return r.pipes[pipeKey{u.Name, q}] != nil })
	r.mu.Unlock()
	if len(queues) == 0 {
		return nil
	}
	layout, err := r.layout(ctx, r.cluster(u), u.Name, topic, queues)
	if err != nil {
		return err
	}
	for _, q := range queues {
		to, _ := layout.find(q)
		p := &pipe{
			from:   msha.OriginQueue{Unit: r.origin, Broker: q.Broker, Topic: q.Topic, Queue: q.ID},
			source: q, target: to, unit: u.Name, origin: r.known(r.origin), remote: r.known(u.Name), opts: &r.opts,
			checkpoint: func(ctx context.Context) (int64, bool, error) { return r.loadCheckpoint(ctx, u.Name, q) },
		}
		p.log = r.opts.Logger.With("origin", p.from.String(), "target", u.Name)
		r.mu.Lock()
		p.pause(r.paused[topic])
		r.pipes[pipeKey{u.Name, q}] = p
		r.wg.Add(1)
		r.mu.Unlock()
		go func() {
			defer r.wg.Done()
			p.run(run)
		}()
	}
	return nil
}

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
	layout, err := r.extendLayout(ctx, msha.LayoutKey+"."+r.origin+"."+unit, func(l Layout) (Layout, bool) { return l.assign(queues, replica, names) })
	if err != nil {
		return layout, err
	}
	for broker, n := range layout.sizes(replica) {
		addr := brokers[broker]
		if addr == "" {
			return layout, msha.Errorf("replicate.layout", unit+"/"+broker, "start the broker", "%w: a broker that holds replica queues is not registered", msha.ErrNotFound)
		}
		have, err := target.TopicConfig(ctx, addr, replica)
		if err != nil && !errors.Is(err, msha.ErrNotFound) {
			return layout, err
		}
		if have.Read < n || have.Write < n {
			if err := target.CreateTopic(ctx, addr, remoting.TopicConfig{Name: replica, Read: max(n, have.Read), Write: max(n, have.Write)}); err != nil {
				return layout, err
			}
		}
	}
	return layout, nil
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
