package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/route"
)

// world is one schedule.
type world struct {
	*loop
	o        options
	mutation Mutation
	tr       trace
	counts   Counts
	err      error

	clusters []*cluster
	units    *msha.Units
	store    *store
	manager  *manager
	journal  *journal
	produced []*message
	pipes    []*pipe
	history  history
	tables   []*msha.Table
	agents   int
	quiet    bool // no more faults
	away     int  // disasters under way
}

// Result is how a run ended.
type Result struct {
	Seed   uint64
	Hash   uint64 // of all events
	Counts Counts
	Err    error
	Trace  string // the last events, if Err is not nil
}

// Run runs the schedule of a seed.
func Run(seed uint64, mutation Mutation) Result { return newWorld(seed, mutation).run(seed) }

func newWorld(seed uint64, mutation Mutation) *world {
	w := &world{loop: newLoop(seed), mutation: mutation}
	w.o = drawOptions(w.loop)
	w.journal, w.manager, w.store = newJournal(w), newManager(w), &store{w: w, orders: map[string]*storedOrder{}}
	w.units = &msha.Units{}
	w.history = history{docs: memory.New(), truth: map[string]*msha.Incarnations{}, known: map[string]*msha.Incarnations{}}
	values := map[string][]string{}
	var names []string
	for i := range w.o.units {
		unit := fmt.Sprintf("unit-%d", i+1)
		names = append(names, unit)
		w.units.Units = append(w.units.Units, msha.UnitInfo{Name: unit, State: "live", Groups: []string{group}})
		for v := range w.o.values {
			values[unit] = append(values[unit], fmt.Sprintf("v%d%d", i+1, v))
		}
	}
	for _, unit := range names {
		w.clusters = append(w.clusters, newCluster(w, unit))
	}
	table, err := route.New(names, values)
	if err != nil {
		w.fail("first table: %v", err)
	}
	w.store.table, w.tables = table, []*msha.Table{table}
	w.connect()
	return w
}

// connect lays a pipe from every home queue and every fact log to every other unit.
func (w *world) connect() {
	for _, from := range w.clusters {
		for _, to := range w.clusters {
			if from == to {
				continue
			}
			for _, q := range from.home() {
				p := &pipe{w: w, from: q, to: to.replicaOf(q.origin), source: from, target: to}
				w.pipes = append(w.pipes, p)
				p.run()
			}
			for i, broker := range from.brokers {
				l := &factLog{w: w, unit: from.unit, broker: broker, home: to.brokers[i%len(to.brokers)]}
				to.copies = append(to.copies, l)
				(&logPipe{w: w, from: from.logs[broker], to: l, target: to}).run()
			}
		}
	}
}

func (w *world) clusterOf(unit string) *cluster {
	for _, c := range w.clusters {
		if c.unit == unit {
			return c
		}
	}
	return nil
}

func (w *world) latency() int64 { return w.mostly(1, 12, 0.03, 30, 250) }

func (w *world) trace(who, what string, o msha.Origin, detail string) {
	w.tr.add(traced{w.now, who, what, o, detail})
}

// fail keeps the first broken invariant and ends the run.
func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
		w.trace("check", "FAILED", msha.Origin{}, w.err.Error())
	}
}

var errNoRest = errors.New("no rest")

// limit is when a run that does not come to rest has failed.
const limit = 180_000

func (w *world) run(seed uint64) Result {
	for _, c := range w.clusters {
		for range w.o.agents {
			w.after(w.between(0, 800), func() { w.spawn(c, "") })
		}
	}
	w.schedule()
	w.manager.rejoins()
	w.manager.resumes()
	w.after(w.o.produceFor+500, w.settle)
	rest := int64(-1)
	for w.err == nil && w.step() {
		w.counts.Events++
		if w.now > limit {
			w.fail("%w after %d ms: %s", errNoRest, w.now, w.unfinished())
		}
		if rest < 0 && w.quiet && w.counts.Events%64 == 0 && w.unfinished() == "" {
			rest = w.now + 3000 // for what might still repeat
		}
		if rest >= 0 && w.now > rest {
			if w.unfinished() == "" {
				break
			}
			rest = -1 // something is repeated
		}
	}
	w.counts.Messages = len(w.produced)
	if w.err == nil {
		w.checkEnd()
	}
	r := Result{Seed: seed, Hash: w.tr.hash, Counts: w.counts, Err: w.err}
	if w.err != nil {
		r.Trace = w.tr.String()
	}
	return r
}

// schedule draws who produces and what goes wrong when.
func (w *world) schedule() {
	for range w.o.messages {
		w.after(w.between(0, w.o.produceFor), w.produce)
	}
	w.times(w.o.switches, func() { w.manager.begin() })
	w.times(w.o.outages, func() { w.store.outage(w.between(300, 4000)) })
	w.times(w.o.joins, func() {
		if c := pick(w.loop, w.clusters); !c.dark {
			w.counts.Joins++
			w.spawn(c, "")
		}
	})
	w.times(w.o.disasters, w.disaster)
	w.times(w.o.losses, w.loseTail)
	w.times(w.o.leaves, func() { w.someAgent((*agent).stop) })
	w.times(w.o.breaks, func() {
		d := w.mostly(20, 400, 0.4, 1000, 6000)
		w.someAgent(func(a *agent) { a.breakOff(d) })
		if d > gateWindow {
			w.after(w.between(500, d), w.manager.begin)
		}
	})
	w.times(w.o.kills, func() { w.someAgent((*agent).kill) })
	w.times(w.o.freezes, func() {
		d := w.mostly(200, 3000, 0.6, 4000, 20000)
		w.someAgent(func(a *agent) { a.freeze(d) })
		for range 3 { // routes that move while a process is out of touch
			w.after(w.between(3000, 9000), w.manager.begin)
		}
	})
}

func (w *world) times(n int, f func()) {
	for range n {
		w.after(w.between(1000, w.o.produceFor), f)
	}
}

// someAgent picks a running agent; a unit never loses its last one to a leave or a kill for long.
func (w *world) someAgent(f func(*agent)) {
	c := pick(w.loop, w.clusters)
	var alive []*agent
	for _, a := range c.agents {
		if a.alive() && a.phase == running && !a.frozen {
			alive = append(alive, a)
		}
	}
	if len(alive) == 0 {
		return
	}
	a := pick(w.loop, alive)
	f(a)
	if len(alive) == 1 || w.chance(0.5) {
		name := ""
		if a.dead && w.chance(0.4) {
			name = a.client
		}
		w.after(w.between(100, 3000), func() {
			if !c.dark {
				w.spawn(c, name)
			}
		})
	}
}

func (w *world) produce() {
	c := pick(w.loop, w.clusters)
	if c.dark {
		w.after(w.between(100, 1000), w.produce)
		return
	}
	q := pick(w.loop, c.home())
	m := &message{unit: c.unit, unwanted: w.chance(0.08), origin: msha.Origin{OriginQueue: q.origin, Offset: int64(len(q.items))}}
	if !w.chance(0.1) {
		m.value = fmt.Sprintf("v%d%d", 1+w.rng.IntN(w.o.units), w.rng.IntN(w.o.values))
	}
	w.produced = append(w.produced, m)
	w.trace(c.unit, "produced", m.origin, m.value)
	if q.unknown() {
		w.journal.early(m)
	}
	q.append(stored{message: m})
}

// someValuesOf draws exact values a unit owns.
func (w *world) someValuesOf(unit string) []string {
	var out []string
	for _, r := range w.store.table.Rules {
		if r.Kind == msha.RuleExact && w.store.table.Sets[r.Set].Owner == unit && w.chance(0.4) {
			out = append(out, r.Value)
		}
	}
	return out
}

// staleTable is one that was current some time ago.
func (w *world) staleTable() *msha.Table {
	return w.tables[max(0, len(w.tables)-1-w.rng.IntN(3))]
}

// settle ends the faults, so that everything must come to an end.
func (w *world) settle() {
	if w.store.down || w.manager.active() > 0 || w.away > 0 || len(w.missing()) > 0 {
		w.after(200, w.settle)
		return
	}
	w.quiet = true
	w.o.flaky = 0
}

// unfinished says what is not at rest yet, "" if everything is.
func (w *world) unfinished() string {
	if w.manager.active() > 0 {
		return "a switch is under way"
	}
	if away := w.missing(); len(away) > 0 {
		return away[0].unit + " has not rejoined"
	}
	var missing []string
	for _, m := range w.produced {
		if w.owed(m) && len(w.journal.done[m]) == 0 {
			missing = append(missing, m.origin.String()+" ("+m.value+")")
		}
	}
	if len(missing) > 0 {
		return fmt.Sprintf("%d messages not processed: %s", len(missing), strings.Join(missing[:min(3, len(missing))], ", "))
	}
	for _, p := range w.pipes {
		if p.stale || p.in.Newest(p.from.origin) != w.history.of(p.source.unit).Newest(p.from.origin) || int64(p.next) < p.from.end() {
			return "copies of " + p.from.local.String() + " are under way"
		}
	}
	for _, c := range w.clusters {
		if q := c.unheld(); q != "" {
			return "nobody holds " + q // what its last holder had not published may still repeat
		}
		for _, a := range c.agents {
			if !a.alive() {
				continue
			}
			if a.phase != running || a.frozen || a.table != w.store.table || a.acked != a.table.Version {
				return a.client + " has not acknowledged the last table"
			}
			for _, q := range a.t.Held() {
				if o := w.openOf(a, q); o != "" {
					return o
				}
				h := a.holding(q)
				if h == nil {
					return a.client + " opens " + q.String()
				}
				if p := a.t.Pending(q).Below(h.endOf(q)); !p.Empty() {
					return fmt.Sprintf("%s: %s of %s pending", a.client, p, q)
				}
			}
		}
	}
	return ""
}

// unheld is a queue that nobody holds, "" if there is none.
func (c *cluster) unheld() string {
	held := map[filter.LocalQueue]bool{}
	for _, a := range c.agents {
		for local, h := range a.held {
			held[local] = held[local] || a.alive() && h.ready && !h.dropped
		}
	}
	for _, name := range c.topicNames() {
		for _, q := range c.topics[name] {
			if !held[q.local] {
				return q.local.String()
			}
		}
	}
	return ""
}

// openOf is a message that waits for a retry copy under a term an agent's unit has.
func (w *world) openOf(a *agent, q msha.OriginQueue) string {
	for _, s := range w.store.table.Sets {
		if s.Owner != a.c.unit {
			continue
		}
		if open := a.t.Facts().Opens(filter.KeyOf(s), q); !open.Empty() {
			return fmt.Sprintf("%s: %s of %s wait for retry copies", a.client, open, q)
		}
	}
	return ""
}

// describe is a table in a trace.
func describe(t *msha.Table) string {
	var parts []string
	for _, s := range t.Sets {
		parts = append(parts, fmt.Sprintf("%s=%s:%s", filter.KeyOf(s), s.Owner, s.State))
	}
	slices.Sort(parts)
	return fmt.Sprintf("v%d %s", t.Version, strings.Join(parts, " "))
}
