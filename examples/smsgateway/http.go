package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"
)

// listen serves POST /send?unit=<unit> for MTR, GET /journal, /healthz and the manager's endpoints, as far as they run here.
func (g *gateway) listen(c config) error {
	l, err := net.Listen("tcp", c.listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/send", g.serveSend)
	mux.HandleFunc("GET /journal", func(w http.ResponseWriter, _ *http.Request) { reply(w, g.journal.Entries()) })
	if g.manager != nil {
		mux.Handle("/", g.manager)
	} else {
		mux.HandleFunc("GET /healthz", g.serveHealth)
	}
	if c.controls {
		g.addControls(mux)
	}
	g.url = "http://" + l.Addr().String()
	g.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	if g.manager != nil {
		g.server.RegisterOnShutdown(g.manager.CloseEvents)
	}
	go func() {
		if err := g.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			g.fail(fmt.Errorf("HTTP server: %w", err))
		}
	}()
	g.log.Info(listening, "url", g.url)
	return nil
}

// listening is the log message that says that everything runs and where.
const listening = "listening"

// unit is the unit a request names; the parameter may be left out if only one runs here. nil if it does not run here.
func (g *gateway) unit(r *http.Request) *unit {
	name := r.URL.Query().Get("unit")
	if name == "" && len(g.units) == 1 {
		for _, only := range g.units {
			return only
		}
	}
	return g.units[name]
}

func (g *gateway) serveSend(w http.ResponseWriter, r *http.Request) {
	u := g.unit(r)
	if u == nil || u.mtr == nil {
		http.Error(w, fmt.Sprintf("no MTR of unit %q runs here", r.URL.Query().Get("unit")), http.StatusNotFound)
		return
	}
	u.mtr.ServeHTTP(w, r)
}

// serveHealth is for processes without a manager, whose own answer says more.
func (g *gateway) serveHealth(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]any{"status": "ok", "roles": slices.Sorted(maps.Keys(g.roles)), "units": slices.Sorted(maps.Keys(g.units))})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client is gone
}
