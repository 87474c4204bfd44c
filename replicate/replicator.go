package replicate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/history"
	"github.com/go-msha/msha/internal/remoting"
)

// Replicator copies one unit's messages to other units. Any number of processes with the same origin share the work: each runs a Replicator
// on a metastore client of its own, and they divide the origin's topics per broker and target. It implements msha.Replicator; its
// methods are safe for concurrent use.
type Replicator struct {
	origin string
	store  msha.MetaStore
	opts   Options
	sites  *remoting.Sites

	limits limits
	memory budget
	count  counters

	history *history.History
	stored  map[string]map[remoting.Queue]mark // checkpoints as last stored, by key; Run alone uses it

	mu      sync.Mutex
	running bool
	pipes   map[pipeKey]*pipe
	paused  map[string]bool
	sharing *sharing // while it runs
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
		origin: origin, store: store, opts: opts, sites: remoting.NewSites("replicate.access", opts.Access, opts.Logger), limits: newLimits(&opts), memory: budget{total: opts.Memory},
		pipes: map[pipeKey]*pipe{}, paused: map[string]bool{}, stored: map[string]map[remoting.Queue]mark{}, history: history.New(origin, store),
	}, nil
}

// Run copies until ctx ends, then finishes the batches in flight, hands its work to the other processes and returns nil. ErrBusy if it
// runs already; ErrNotFound if the unit document does not have the origin. A queue that had to stop (ErrGap) stays stopped and is
// reported by Lag; the others go on.
func (r *Replicator) Run(ctx context.Context) error {
	assigned := make(chan struct{}, 1)
	r.mu.Lock()
	if r.running {
		r.mu.Unlock()
		return msha.Errorf("replicate.run", r.origin, "", "replicator is %w: it runs already", msha.ErrBusy)
	}
	r.running = true
	r.sharing = newSharing(r.origin, r.store, &r.opts, assigned, r.retire, &r.count)
	r.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
		r.sites.Close()
		r.mu.Lock()
		r.running, r.pipes = false, map[pipeKey]*pipe{}
		r.mu.Unlock()
	}()
	wg.Go(func() { r.history.Follow(ctx, r.opts.Logger) })
	var sharing sync.Once
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
		sharing.Do(func() { wg.Go(func() { r.sharing.run(ctx) }) }) // what was found first is joined with
		if time.Since(saved) >= checkpointEvery {
			r.saveCheckpoints(ctx)
			saved = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-assigned:
		case <-time.After(r.opts.Discover):
		}
	}
}
