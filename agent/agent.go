package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/consume"
	"github.com/go-msha/msha/internal/history"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/tagging"
)

// Options of Join. The zero value is valid.
type Options struct {
	Value        tagging.Extractor // where a message's routing value comes from if the context carries none; nil: only the context
	DefaultValue string            // the value of a message without one; "": the message belongs to the unit that produced it
	InstanceName string            // part of the client ids, to be recognized in lists; "": the host's name
	GateWindow   time.Duration     // G of design section 7; 0: 30 s
	// Strict keeps promise P1 also where a forced switch takes routes from this unit while it cannot reach the metastore: consumers then
	// stop after GateWindow without it. Each consumer reads the table four times within GateWindow for that. Managers must have the same
	// GateWindow, or a longer one.
	Strict       bool
	PublishEvery time.Duration   // how often facts are published; 0: 1 s
	Access       msha.AccessFunc // account and TLS of the unit's cluster, asked when a client is made; nil: no account, plain TCP
	Logger       *slog.Logger    // nil: slog.Default()
}

func (o *Options) withDefaults() Options {
	var out Options
	if o != nil {
		out = *o
	}
	if out.InstanceName == "" {
		out.InstanceName, _ = os.Hostname() // "" will do
	}
	if out.GateWindow <= 0 {
		out.GateWindow = 30 * time.Second
	}
	if out.PublishEvery <= 0 {
		out.PublishEvery = time.Second
	}
	if out.Logger == nil {
		out.Logger = slog.Default()
	}
	return out
}

// Unit is a process's membership of one unit. Its methods are safe for concurrent use.
type Unit struct {
	info      msha.UnitInfo
	store     msha.MetaStore
	opts      Options
	log       *slog.Logger
	table     *route.Watcher
	process   string             // random: two processes never share a client id
	stop      context.CancelFunc // ends the watches
	mu        sync.Mutex
	closed    bool
	serial    int
	others    []string         // units other than this one, as last seen
	owned     []*owned         // producers and consumers that are not closed, in order of creation
	consumers []*counted       // all there were
	watched   sync.WaitGroup   // the watches of documents
	history   *history.History // of the unit's queues
}

// owned is what Close has to shut down.
type owned struct{ close func(context.Context) error }

// counted is a consumer's part of Stats. Of one that is closed only the counters are kept.
type counted struct {
	ConsumerStats
	engine *consume.Engine // nil: closed
}

// Join looks the unit up in the unit document and follows the routing table; it blocks until the first table was read. ErrNotFound
// names the known units; ErrInvalid if a document does not parse. The store stays the caller's: Close does not close it.
func Join(ctx context.Context, unit string, store msha.MetaStore, o *Options) (*Unit, error) {
	opts := o.withDefaults()
	if unit == "" {
		return nil, msha.Errorf("agent.join", "", "set msha.unit.name", "%w: no unit name", msha.ErrInvalid)
	}
	units, err := route.Units(ctx, store)
	if err != nil {
		return nil, err
	}
	info, ok := units.Find(unit)
	if !ok {
		return nil, msha.Errorf("agent.join", unit, "known units: "+strings.Join(units.Names(), ", "), "unit %w", msha.ErrNotFound)
	}
	if len(info.NameServers) == 0 {
		return nil, msha.Errorf("agent.join", unit, "add nameServers to the unit document", "%w: unit without name servers", msha.ErrInvalid)
	}
	past := history.New(unit, store)
	if err := past.Load(ctx); err != nil {
		return nil, err
	}
	logger := opts.Logger.With("unit", unit)
	watchCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, stop) // until the first table is there, ctx ends the watch too
	table, err := route.Watch(watchCtx, store, &route.Options{Logger: logger})
	if !release() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		stop()
		return nil, err
	}
	u := &Unit{
		info: info, store: store, opts: opts, log: logger, table: table, stop: stop, process: uuid.NewString()[:8], others: otherThan(unit, units),
		history: past,
	}
	u.watched.Go(func() { u.watchUnits(watchCtx) })
	u.watched.Go(func() { u.history.Follow(watchCtx, logger) })
	return u, nil
}

func otherThan(unit string, units *msha.Units) []string {
	return slices.DeleteFunc(units.Names(), func(name string) bool { return name == unit })
}

// watchUnits keeps the list of the other units, so that nothing of the data path has to ask the metastore for it (promise P6).
func (u *Unit) watchUnits(ctx context.Context) {
	for wait := watchRetry; ctx.Err() == nil; {
		docs, err := u.store.Watch(ctx, msha.UnitsKey)
		if err == nil {
			for doc := range docs {
				u.applyUnits(doc)
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// watchRetry is how long to wait before a watch that ended is begun again.
const watchRetry = time.Second

func (u *Unit) applyUnits(doc msha.Document) {
	units, err := route.ParseUnits(doc.Value)
	if err != nil || doc.Revision == 0 {
		u.log.Warn("unit document cannot be used, keeping the known units", "key", msha.UnitsKey, "error", err)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.others = otherThan(u.info.Name, units)
}

// otherUnits lists the units whose copies this unit's cluster holds.
func (u *Unit) otherUnits() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.others
}

// Name is the unit's name.
func (u *Unit) Name() string { return u.info.Name }

// Router is the routing table the unit's consumers work with.
func (u *Unit) Router() msha.Router { return u.table }

// Close shuts down what was created and not yet shut down, the newest first (consumers: gate, drain, publish, commit, leave the
// roster), then stops following the table. It blocks for running handlers, at most until ctx ends.
func (u *Unit) Close(ctx context.Context) error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil
	}
	u.closed = true
	open := slices.Clone(u.owned)
	u.mu.Unlock()
	var all error
	for _, o := range slices.Backward(open) {
		all = errors.Join(all, o.close(ctx))
	}
	u.stop()
	u.table.Close()
	u.watched.Wait()
	return all
}

// ConsumerStats are the counters of one consumer, for metrics.
type ConsumerStats struct {
	Group, ClientID string
	consume.Stats
}

// Stats are the counters of the consumers of this process, in the order in which they were made, those that were shut down included.
func (u *Unit) Stats() (all []ConsumerStats) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.consumers {
		if c.engine != nil {
			c.Stats = c.engine.Stats()
		}
		all = append(all, c.ConsumerStats)
	}
	return all
}

// register keeps what Close has to shut down, until it is forgotten, and counts it if it is a consumer; ErrClosed after Close.
func (u *Unit) register(o *owned, c *counted) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return u.errClosed()
	}
	if !slices.Contains(u.owned, o) {
		u.owned = append(u.owned, o)
	}
	if c != nil {
		u.consumers = append(u.consumers, c)
	}
	return nil
}

func (u *Unit) forget(o *owned) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.owned = slices.DeleteFunc(u.owned, func(other *owned) bool { return other == o })
}

// settle keeps the counters of a consumer that is closed.
func (u *Unit) settle(c *counted) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c.Stats, c.engine = c.engine.Stats(), nil
}

// accessTimeout bounds Options.Access: the constructors have no context in client-go's interface.
const accessTimeout = 10 * time.Second

// access is how to talk to the unit's cluster.
func (u *Unit) access() (msha.Access, error) {
	ctx, cancel := context.WithTimeout(context.Background(), accessTimeout)
	defer cancel()
	return u.opts.Access.Find(ctx, "agent.access", u.info)
}

func (u *Unit) errClosed() error {
	return msha.Errorf("agent", u.info.Name, "join again", "unit %w", msha.ErrClosed)
}

// instance gives each client of the process its own instance name: under one name the broker confuses two consumers for minutes.
func (u *Unit) instance(kind, group string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.serial++
	return fmt.Sprintf("%s-%s-%s-%s-%s-%d", u.info.Name, u.opts.InstanceName, u.process, kind, group, u.serial)
}
