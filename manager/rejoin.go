package manager

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

// Rejoin takes a unit back that lost routes by a forced switch; a manager does so by itself once the unit answers. See switchplan's
// Executor.Rejoin for what lost means. ErrNotFound if there is no such unit; ErrClosed after Close, which does not wait for a unit.
func (m *Manager) Rejoin(ctx context.Context, unit string, lost bool) (*switchplan.Rejoined, error) {
	return m.rejoin(ctx, unit, lost, "")
}

func (m *Manager) rejoin(ctx context.Context, unit string, lost bool, by string) (*switchplan.Rejoined, error) {
	ctx, leave, err := m.enter(ctx, m.loop)
	if err != nil {
		return nil, err
	}
	defer leave()
	units, err := m.registry.Units(ctx)
	if err != nil {
		return nil, err
	}
	if _, known := units.Find(unit); !known {
		return nil, msha.Errorf("switch.rejoin", unit, "known units: "+strings.Join(units.Names(), ", "), "unit %w", msha.ErrNotFound)
	}
	table, err := m.tables.Current(ctx)
	if err != nil {
		return nil, err
	}
	if lost && table.Away(unit) {
		m.opts.Logger.Warn("the facts of a lost unit are given up: what it had processed and not copied is processed again, should it ever come", "unit", unit, "by", by)
	}
	done, err := m.executor.Rejoin(ctx, unit, lost)
	if err == nil && done != nil {
		m.opts.Logger.Info("unit taken back on request", "unit", unit, "sets", done.Sets, "factsGivenUp", lost, "repeated", done.Repeated, "by", by)
	}
	return done, err
}

// rejoins takes units back until ctx ends, each in its own time.
func (m *Manager) rejoins(ctx context.Context) {
	tick := time.NewTicker(m.opts.ResumeAfter)
	defer tick.Stop()
	var under sync.Map // units that are being taken back
	var all sync.WaitGroup
	defer all.Wait()
	for {
		if table, err := route.Load(ctx, m.store); err == nil { // it may be old: Rejoin reads anew. A failure is resume's to report
			for _, unit := range away(table) {
				if _, already := under.LoadOrStore(unit, true); already {
					continue
				}
				all.Go(func() {
					defer under.Delete(unit)
					if _, err := m.executor.Rejoin(ctx, unit, false); err != nil && ctx.Err() == nil {
						m.opts.Logger.Warn("unit cannot rejoin", "unit", unit, "error", err)
					}
				})
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// away are the units that lost routes by force and have not rejoined, sorted.
func away(t *msha.Table) []string {
	units := map[string]bool{}
	for _, s := range t.Sets {
		for _, f := range s.Forced {
			units[f.Unit] = true
		}
	}
	return slices.Sorted(maps.Keys(units))
}

// serveRejoin answers POST /rejoin?unit=…: it waits for the unit as long as the client does.
func (m *Manager) serveRejoin(w http.ResponseWriter, r *http.Request) {
	q, err := rejoinParameters.of(r)
	by := ""
	if err == nil {
		by, err = m.who(r, q)
	}
	if err == nil && !q.Has("unit") {
		err = refused("unit", "name the unit that is back", "no unit")
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "", err)
		return
	}
	done, err := m.rejoin(r.Context(), q.Get("unit"), isTrue(q, "lost"), by)
	if err != nil {
		fail(w, lookupStatus(err), "", err)
		return
	}
	if done == nil {
		done = &switchplan.Rejoined{Unit: q.Get("unit"), Sets: []string{}}
	}
	reply(w, http.StatusOK, done)
}
