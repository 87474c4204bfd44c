package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/route"
)

// gateway is everything of the SMS gateway that runs in this process.
type gateway struct {
	store   msha.MetaStore
	journal *Journal
	units   map[string]*unit
	manager *manager.Manager
	server  *http.Server
	url     string
	log     *slog.Logger
}

// startGateway creates the documents, then starts the roles of the units, the manager and the HTTP server.
func startGateway(ctx context.Context, c config, log *slog.Logger) (_ *gateway, err error) {
	nameServers, names, err := parseLists("units", c.units)
	if err != nil {
		return nil, err
	}
	values, _, err := parseLists("values", c.values)
	if err != nil {
		return nil, err
	}
	g := &gateway{store: memory.New(), journal: NewJournal(), units: map[string]*unit{}, log: log}
	defer func() {
		if err != nil {
			closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, g.close(closeCtx))
		}
	}()
	if err = initDocuments(ctx, g.store, names, nameServers, values); err != nil {
		return nil, err
	}
	roles := c.roles()
	for _, name := range names {
		if c.unit != "" && c.unit != name {
			continue
		}
		if err = createTopic(ctx, nameServers[name], topic); err != nil {
			return nil, fmt.Errorf("unit %s: %w", name, err)
		}
		carrier := &Carrier{Unit: name, Journal: g.journal, Latency: c.latency, FailureRate: c.failures}
		if g.units[name], err = startUnit(ctx, name, roles, g.store, carrier, log); err != nil {
			return nil, fmt.Errorf("unit %s: %w", name, err)
		}
	}
	if len(g.units) == 0 {
		return nil, fmt.Errorf("unit %q: %w: known units: %s", c.unit, msha.ErrNotFound, strings.Join(names, ", "))
	}
	if roles["manager"] {
		if g.manager, err = manager.New(ctx, g.store, &manager.Options{Logger: log}); err != nil {
			return nil, err
		}
	}
	return g, g.listen(c.listen)
}

func initDocuments(ctx context.Context, store msha.MetaStore, names []string, nameServers, values map[string][]string) error {
	units := &msha.Units{}
	for _, name := range names {
		units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: nameServers[name], State: "live"})
	}
	table, err := route.New(names, values)
	if err != nil {
		return err
	}
	return route.Init(ctx, store, table, units)
}

// listen serves POST /send?unit=<unit> for MTR (the unit may be left out if only one runs here) and the manager's endpoints.
func (g *gateway) listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	if g.manager != nil {
		mux.Handle("/", g.manager)
	}
	mux.HandleFunc("/send", func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("unit")
		u := g.units[name]
		if name == "" && len(g.units) == 1 {
			for _, only := range g.units {
				u = only
			}
		}
		if u == nil || u.mtr == nil {
			http.Error(w, fmt.Sprintf("no MTR of unit %q runs here", name), http.StatusNotFound)
			return
		}
		u.mtr.ServeHTTP(w, r)
	})
	g.url = "http://" + l.Addr().String()
	g.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := g.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			g.log.Error("HTTP server stopped", "error", err)
		}
	}()
	g.log.Info("listening", "url", g.url)
	return nil
}

// switchTo asks the manager over HTTP, as an operator would, and returns how long the answer took.
func (g *gateway) switchTo(ctx context.Context, query string) (time.Duration, switchAnswer, error) {
	var answer switchAnswer
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/switch?"+query, nil)
	if err != nil {
		return 0, answer, err
	}
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, answer, err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(resp.Body)
	took := time.Since(start)
	if err != nil {
		return took, answer, err
	}
	if resp.StatusCode != http.StatusOK {
		return took, answer, fmt.Errorf("GET /switch?%s: %s: %s", query, resp.Status, strings.TrimSpace(string(body)))
	}
	return took, answer, json.Unmarshal(body, &answer)
}

// switchAnswer is the part of the manager's answer the demo shows.
type switchAnswer struct {
	Task      string `json:"task"`
	TakenOver int64  `json:"takenOver"`
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
