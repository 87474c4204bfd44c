package manager

import (
	"context"
	"slices"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// firstCare is when a manager that was just started first looks after facts.
const firstCare = time.Minute

// care carries the facts of groups without agents forward in the units' logs until ctx ends, as agents do for their own: what retention removes
// from a log's beginning would be missing one day.
func (m *Manager) care(ctx context.Context) {
	next := time.NewTimer(min(firstCare, m.opts.SnapshotEvery))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		next.Reset(m.opts.SnapshotEvery)
		units, err := m.registry.Units(ctx)
		if err != nil {
			continue // resume's to report
		}
		for _, name := range units.Names() {
			if err := m.clusters.snapshot(ctx, name); err != nil && ctx.Err() == nil {
				m.opts.Logger.Warn("facts of groups without agents not carried forward", "unit", name, "error", err)
			}
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
	byBroker := map[string][]filter.Record{}
	err = l.read(ctx, others, func(f *filter.Facts) error {
		for _, group := range f.Groups() {
			if attended(roster, unit, group) {
				continue
			}
			for _, q := range l.own {
				byBroker[q.Broker] = append(byBroker[q.Broker], f.Group(group).Snapshot(q.Broker, l.main.next[q]-1, filter.Past(table))...)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for broker, records := range byBroker {
		for _, r := range records { // a chunk is a body
			if _, err := l.appendTo(ctx, broker, []filter.Record{r}); err != nil {
				return err
			}
		}
	}
	return nil
}

func attended(roster msha.Roster, unit, group string) bool {
	return slices.ContainsFunc(roster.Members, func(m msha.RosterMember) bool { return m.Unit == unit && slices.Contains(m.Groups, group) })
}
