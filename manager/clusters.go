package manager

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/switchplan"
)

// clusters answers what the brokers of the units know. It implements switchplan.Cluster and switchplan.Facts.
type clusters struct {
	tables   *tables
	registry *registry
	id       string // of this manager, in the logs
	sites    *remoting.Sites
	log      *slog.Logger
	layouts  *layouts

	mu   sync.Mutex
	logs map[string]*unitLog // by unit
}

var (
	_ switchplan.Cluster = (*clusters)(nil)
	_ switchplan.Facts   = (*clusters)(nil)
)

func newClusters(t *tables, r *registry, id string, access msha.AccessFunc, log *slog.Logger) *clusters {
	return &clusters{tables: t, registry: r, id: "manager@" + id, sites: remoting.NewSites("switch.access", access, log), log: log, layouts: &layouts{store: r.store}, logs: map[string]*unitLog{}}
}

func (c *clusters) close() { c.sites.Close() }

// unit is a unit's log, the names of the other units and the unit's entry in the unit document.
func (c *clusters) unit(ctx context.Context, name string) (*unitLog, []string, msha.UnitInfo, error) {
	units, err := c.registry.Units(ctx)
	if err != nil {
		return nil, nil, msha.UnitInfo{}, err
	}
	info, ok := units.Find(name)
	if !ok {
		return nil, nil, info, msha.Errorf("switch.facts", name, "known units: "+strings.Join(units.Names(), ", "), "unit %w", msha.ErrNotFound)
	}
	others := slices.DeleteFunc(units.Names(), func(other string) bool { return other == name })
	cluster, err := c.sites.Reach(ctx, info)
	if err != nil {
		return nil, nil, info, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.logs[name]
	if l == nil || l.cluster != cluster {
		l = newUnitLog(name, cluster, c.log)
		c.logs[name] = l
	}
	l.knows(info.Brokers)
	return l, others, info, nil
}

// Acks implements switchplan.Cluster.
func (c *clusters) Acks(ctx context.Context, unit string) (acks map[string]uint64, err error) {
	l, _, _, err := c.unit(ctx, unit)
	if err != nil {
		return nil, err
	}
	err = l.read(ctx, nil, func(f *filter.Facts) error { // copies of other units' logs hold none of this unit's
		acks = f.Acked(l.brokers())
		return nil
	})
	return acks, err
}

// Mark implements switchplan.Cluster.
func (c *clusters) Mark(ctx context.Context, unit string, version uint64) error {
	l, _, _, err := c.unit(ctx, unit)
	if err != nil {
		return err
	}
	return l.append(ctx, []filter.Record{{Kind: filter.Ack, Client: c.id, Writer: c.id, Version: version}})
}

// Clients implements switchplan.Cluster.
func (c *clusters) Clients(ctx context.Context, unit string, groups []string) (map[string][]string, error) {
	l, _, _, err := c.unit(ctx, unit)
	if err != nil {
		return nil, err
	}
	addrs, err := l.cluster.Brokers(ctx)
	if err != nil {
		return nil, err
	}
	found := make([][]string, len(groups))
	err = each(len(groups), func(i int) error {
		for _, addr := range addrs {
			connections, err := l.cluster.ConsumerConnections(ctx, addr, groups[i])
			if err != nil {
				return err
			}
			for _, conn := range connections.Connections {
				found[i] = append(found[i], conn.ClientID)
			}
		}
		slices.Sort(found[i])
		found[i] = slices.Compact(found[i])
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for i, group := range groups {
		out[group] = found[i]
	}
	return out, nil
}

// Remaining implements switchplan.Facts.
func (c *clusters) Remaining(ctx context.Context, unit string, table *msha.Table, moves []msha.Move) (*switchplan.Remaining, error) {
	l, others, info, err := c.unit(ctx, unit)
	if err != nil {
		return nil, err
	}
	return c.left(ctx, l, others, table, func(f *filter.Facts) (*filter.HandOver, error) {
		return filter.RemainingAfter(f, table, moves, info.Groups)
	})
}

// left computes a hand-over by a unit's log, read to its end. Processes that were passed over may have done some of it.
func (c *clusters) left(ctx context.Context, l *unitLog, others []string, table *msha.Table, compute func(*filter.Facts) (*filter.HandOver, error)) (*switchplan.Remaining, error) {
	copies, err := c.copies(ctx, l.unit, others, false)
	if err != nil {
		return nil, err
	}
	var out *filter.HandOver
	var acks map[string]uint64
	err = l.barrier(ctx, l.main, others, table.Version, c.id, func(f *filter.Facts) (err error) {
		if out, err = compute(f); err != nil {
			return err
		}
		acks = f.Acked(l.brokers())
		more, err := l.abandonedIn(f, acks, table.Version, copies).repeated(ctx, l, f, table, out.Records)
		out.Repeated += more
		return err
	})
	return remaining(out, acks, err)
}

// Missing implements switchplan.Facts. A switch asks before its fence, so what the hand-over needs is read here, the copies of other units' logs
// among it: behind the fence there is time for what is new only.
func (c *clusters) Missing(ctx context.Context, unit string) (missing []string, err error) {
	l, others, info, err := c.unit(ctx, unit)
	if err != nil {
		return nil, err
	}
	if _, err := c.copies(ctx, unit, others, true); err != nil {
		return nil, err
	}
	err = l.read(ctx, others, func(f *filter.Facts) error {
		missing = slices.DeleteFunc(slices.Clone(info.Groups), f.Knows)
		return nil
	})
	return missing, err
}

// HandOver implements switchplan.Facts.
func (c *clusters) HandOver(ctx context.Context, unit string, r *switchplan.Remaining) error {
	l, _, _, err := c.unit(ctx, unit)
	if err != nil {
		return err
	}
	return l.append(ctx, r.Facts.(*filter.HandOver).Records)
}

// Pulled implements switchplan.Facts.
func (c *clusters) Pulled(ctx context.Context, unit string) (pulled switchplan.Pulled, err error) {
	l, others, _, err := c.unit(ctx, unit)
	if err != nil {
		return nil, err
	}
	err = l.read(ctx, others, func(f *filter.Facts) error {
		pulled = f.Pulled()
		return nil
	})
	return pulled, err
}

// Progress implements switchplan.Facts.
func (c *clusters) Progress(ctx context.Context, unit string, moves []msha.Move, upTo switchplan.Pulled) (p switchplan.Progress, err error) {
	l, others, _, err := c.unit(ctx, unit)
	if err != nil {
		return p, err
	}
	table, err := c.tables.Current(ctx)
	if err != nil {
		return p, err
	}
	roster, err := c.registry.Roster(ctx)
	if err != nil {
		return p, err
	}
	runs := func(group string) bool { return attended(roster, unit, group) }
	err = l.read(ctx, others, func(f *filter.Facts) error {
		for _, m := range moves {
			set := table.Sets[m.NewSet]
			if set.Term != m.Term+1 {
				continue // moved again: what is left is the next switch's
			}
			taken, pending, offline := f.Progress(filter.KeyOf(set), set.RemainingHash, upTo, runs)
			p.Pending += pending
			p.Offline += offline
			p.TakenOver += taken
		}
		return nil
	})
	return p, err
}

// queueReaders bounds how many queues are looked at at a time.
const queueReaders = 16

// each calls f for the numbers below n, several at a time, and returns all errors.
func each(n int, f func(i int) error) error {
	errs := make([]error, n)
	slots := make(chan struct{}, queueReaders)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = f(i)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
