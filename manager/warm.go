package manager

import (
	"context"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// prepareTime bounds what is read before a forced switch begins.
const prepareTime = 30 * time.Second

// prepare reads what the hand-over of a forced switch will read, before its fence: the time between fence and commit is no time to read a whole
// log. What fails now is the switch's to report.
func (m *Manager) prepare(ctx context.Context, req msha.SwitchRequest) {
	if !req.Forced {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	plan, err := m.plan(ctx, req)
	if err != nil {
		return
	}
	for _, move := range plan.Moves {
		if err := m.clusters.readLost(ctx, move.To, move.From); err != nil {
			m.opts.Logger.Debug("facts not read before a forced switch", "unit", move.From, "in", move.To, "error", err)
		}
	}
}

// warm brings all folds up to date: those of the units' own logs, and of what each unit has of the others, which a forced switch needs.
func (c *clusters) warm(ctx context.Context) {
	units, err := c.registry.Units(ctx)
	if err != nil {
		return // resume's to report
	}
	names := units.Names()
	each(len(names), func(i int) error { //nolint:errcheck // a unit that does not answer is its switches' to report
		l, others, _, err := c.unit(ctx, names[i])
		if err == nil {
			err = l.read(ctx, others, func(*filter.Facts) error { return nil })
		}
		for _, other := range others {
			if err == nil {
				err = c.readLost(ctx, names[i], other)
			}
		}
		if err != nil && ctx.Err() == nil {
			c.log.Debug("facts not read ahead", "unit", names[i], "error", err)
		}
		return err
	})
}

// readLost brings up to date what one unit has of another one's log.
func (c *clusters) readLost(ctx context.Context, in, unit string) error {
	l, others, _, err := c.unit(ctx, in)
	if err != nil {
		return err
	}
	return l.readLost(ctx, unit, others, func(_, _ *filter.Facts) error { return nil })
}
