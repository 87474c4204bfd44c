package manager

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// careEvery is how often a manager looks after folds, and when it first looks after facts.
const careEvery = time.Minute

// care does what nobody asks for, until ctx ends. It keeps the folds of all logs up to date, so that no switch has to read a whole one. And it
// carries the facts of groups without agents forward in the units' logs, as agents do for their own: what retention removes from a log's beginning would
// be missing one day.
func (m *Manager) care(ctx context.Context) {
	every := min(careEvery, m.opts.SnapshotEvery)
	var all sync.WaitGroup
	all.Go(func() { repeat(ctx, 0, every, m.clusters.warm) })
	all.Go(func() { repeat(ctx, every, m.opts.SnapshotEvery, m.carryForward) })
	all.Wait()
}

// repeat calls f until ctx ends.
func repeat(ctx context.Context, first, every time.Duration, f func(context.Context)) {
	next := time.NewTimer(first)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		next.Reset(every)
		f(ctx)
	}
}

func (m *Manager) carryForward(ctx context.Context) {
	units, err := m.registry.Units(ctx)
	if err != nil {
		return // resume's to report
	}
	for _, name := range units.Names() {
		if err := m.clusters.snapshot(ctx, name); err != nil && ctx.Err() == nil {
			m.opts.Logger.Warn("facts of groups without agents not carried forward", "unit", name, "error", err)
		}
	}
}

// snapshot writes the facts of those groups of a unit in which no agent is in the roster. Several managers may do it: a snapshot is true
// whoever writes it, and later records go before it.
func (c *clusters) snapshot(ctx context.Context, unit string) error {
	l, others, info, err := c.unit(ctx, unit)
	if err != nil || len(info.Brokers) == 0 { // there are no facts yet
		return err
	}
	table, err := c.tables.Current(ctx)
	if err != nil {
		return err
	}
	roster, err := c.registry.Roster(ctx)
	if err != nil {
		return err
	}
	byLog := map[remoting.Queue][]filter.Record{}
	views := map[remoting.Queue]*remoting.Cluster{} // what a broker has lost since it was read must not come back into its log
	err = l.read(ctx, others, func(f *filter.Facts) error {
		for _, group := range f.Groups() {
			if attended(roster, unit, group) {
				continue
			}
			for _, q := range l.own {
				at := l.main.position(q)
				byLog[q] = append(byLog[q], f.Group(group).Snapshot(q.Broker, at.next-1, filter.Past(table))...)
				views[q] = at.view
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for q, records := range byLog {
		for _, r := range records { // a chunk is a body
			if _, err := l.write(ctx, views[q], q.Broker, []filter.Record{r}); err != nil {
				return err
			}
		}
	}
	return nil
}

func attended(roster msha.Roster, unit, group string) bool {
	return slices.ContainsFunc(roster.Members, func(m msha.RosterMember) bool { return m.Unit == unit && slices.Contains(m.Groups, group) })
}
