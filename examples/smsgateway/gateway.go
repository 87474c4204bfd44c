package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/manager"
)

// gateway is everything of the SMS gateway that runs in this process.
type gateway struct {
	roles   map[string]bool
	store   msha.MetaStore
	journal *Journal
	units   map[string]*unit
	manager *manager.Manager // nil if role manager does not run here
	server  *http.Server
	url     string
	log     *slog.Logger
	failed  chan error // a part ended by itself; the process has to end then
}

// startGateway opens the metastore, sees to the documents, then starts the roles of the units, the manager and the HTTP server.
func startGateway(ctx context.Context, c config, log *slog.Logger) (_ *gateway, err error) {
	store, err := openStore(ctx, c, log)
	if err != nil {
		return nil, err
	}
	g := &gateway{roles: c.roles(), store: store, journal: NewJournal(), units: map[string]*unit{}, log: log, failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, g.close(closeCtx))
		}
	}()
	units, err := unitDocument(ctx, store, c, log)
	if err != nil {
		return nil, err
	}
	if g.roles["mtr"] || g.roles["channel"] || g.roles["replicator"] {
		if err = g.startUnits(ctx, units, c); err != nil {
			return nil, err
		}
	}
	if g.roles["manager"] {
		if g.manager, err = manager.New(ctx, store, &manager.Options{Logger: log}); err != nil {
			return nil, err
		}
	}
	return g, g.listen(c)
}

// startUnits starts the configured unit, or all of them.
func (g *gateway) startUnits(ctx context.Context, units *msha.Units, c config) (err error) {
	for _, info := range units.Units {
		if c.unit != "" && c.unit != info.Name {
			continue
		}
		carrier := &Carrier{Unit: info.Name, Journal: g.journal, Latency: c.latency, FailureRate: c.failures}
		if g.units[info.Name], err = g.startUnit(ctx, info, carrier); err != nil {
			return fmt.Errorf("unit %s: %w", info.Name, err)
		}
	}
	if len(g.units) == 0 {
		return fmt.Errorf("unit %q: %w: known units: %s", c.unit, msha.ErrNotFound, strings.Join(units.Names(), ", "))
	}
	return nil
}

// fail reports that a part ended by itself; the first report counts.
func (g *gateway) fail(err error) {
	g.log.Error("a part ended by itself", "error", err)
	select {
	case g.failed <- err:
	default:
	}
}

// close stops everything in reverse order; it returns when the parts have drained or ctx ended.
func (g *gateway) close(ctx context.Context) error {
	var all error
	if g.server != nil {
		all = g.server.Shutdown(ctx)
	}
	if g.manager != nil {
		all = errors.Join(all, g.manager.Close())
	}
	for _, u := range g.units {
		if u != nil {
			all = errors.Join(all, u.close(ctx))
		}
	}
	return errors.Join(all, g.store.Close())
}
