package manager

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// metrics counts what this process did.
type metrics struct {
	mu        sync.Mutex
	running   int
	finished  map[string]int64 // by outcome
	takenOver int64
	repeated  int64
	pause     time.Duration // sum
	duration  time.Duration // sum
	resumes   int64         // failed attempts to look for unfinished work
}

func (c *metrics) change(f func(*metrics)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

func (m *Manager) serveMetrics(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	metric := func(name, kind, help string, lines ...string) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
		for _, l := range lines {
			fmt.Fprintf(&b, "%s%s\n", name, l)
		}
	}
	m.count.change(func(c *metrics) {
		metric("msha_switches_running", "gauge", "Switches this manager works on.", fmt.Sprintf(" %d", c.running))
		var lines []string
		for _, outcome := range []string{"done", "aborted", "refused", "failed"} {
			lines = append(lines, fmt.Sprintf("{outcome=%q} %d", outcome, c.finished[outcome]))
		}
		metric("msha_switches_total", "counter", "Switches this manager ended, by outcome.", lines...)
		metric("msha_switch_pause_seconds_total", "counter", "Time in which nobody started messages of moving routes.", fmt.Sprintf(" %g", c.pause.Seconds()))
		metric("msha_switch_duration_seconds_total", "counter", "Duration of all switches.", fmt.Sprintf(" %g", c.duration.Seconds()))
		metric("msha_switch_taken_over_total", "counter", "Messages new owners processed of what old owners had left.", fmt.Sprintf(" %d", c.takenOver))
		metric("msha_switch_possibly_repeated_total", "counter", "Messages whose first processing may not be recorded.", fmt.Sprintf(" %d", c.repeated))
		metric("msha_resume_errors_total", "counter", "Failed looks for unfinished switches.", fmt.Sprintf(" %d", c.resumes))
	})
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	if t, err := m.tables.Current(ctx); err == nil {
		open, fenced := map[string]int{}, map[string]int{}
		for _, s := range t.Sets {
			open[s.Owner] += 0
			fenced[s.Owner] += 0
			if s.State == msha.SetFenced {
				fenced[s.Owner]++
			} else {
				open[s.Owner]++
			}
		}
		metric("msha_table_version", "gauge", "Version of the routing table.", fmt.Sprintf(" %d", t.Version))
		var lines []string
		for _, unit := range sortedKeys(open) {
			lines = append(lines, fmt.Sprintf("{unit=%q,state=\"open\"} %d", unit, open[unit]), fmt.Sprintf("{unit=%q,state=\"fenced\"} %d", unit, fenced[unit]))
		}
		metric("msha_route_sets", "gauge", "Route sets by owner and state.", lines...)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	w.Write([]byte(b.String())) //nolint:errcheck // the client went away
}
