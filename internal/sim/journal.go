package sim

import (
	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// journal is the simulation's own evidence: which handler ran when. It knows what is true everywhere at once, which no agent does.
type journal struct {
	w        *world
	inFlight map[*agent][]*run
	now      map[*message][]*run // in flight
	done     map[*message][]*run // successful or dead-lettered
	excused  map[*message]bool   // a process was killed or frozen with it in flight or unpublished: it may repeat
	begun    map[*message]bool   // of an ordered group
	last     map[lane]int64      // highest offset that was begun

	recorded map[*message]*body  // where its Done was first written
	lost     map[*message]bool   // processed in a unit that was given up before anybody else knew
	givenUp  map[string]*cluster // sets that are being taken away by force, and from whom
}

// lane is what is in order across units: the messages of a route in one queue.
type lane struct {
	queue       msha.OriginQueue
	value, unit string
}

// run is one handler run.
type run struct {
	a       *agent
	m       *message
	origin  msha.Origin // as its process knows it
	value   string
	unit    string // where the message was produced
	key     filter.Key
	excused bool // its process was killed or frozen meanwhile
}

func newJournal(w *world) *journal {
	return &journal{w: w, inFlight: map[*agent][]*run{}, now: map[*message][]*run{}, done: map[*message][]*run{}, excused: map[*message]bool{},
		begun: map[*message]bool{}, last: map[lane]int64{}, recorded: map[*message]*body{}, lost: map[*message]bool{}, givenUp: map[string]*cluster{}}
}

// started checks what must hold at the first instruction of a handler.
func (j *journal) started(a *agent, it *item) *run {
	o, m := it.meta.Origin, it.m.message
	a.trace("started run", o, it.m.number+" "+it.m.value+" "+it.key.String())
	r := &run{a: a, m: m, origin: o, value: it.m.value, unit: it.m.unit, key: it.key}
	j.w.counts.Runs++
	if it.h.unknown {
		r.excused, j.excused[m] = true, true
	}
	if j.w.store.down {
		j.w.counts.RunsInOutage++
	}
	set, _ := j.w.store.table.Lookup(r.value, r.unit)
	stale := false
	if lost, forced := set.ForcedFrom(a.c.unit); forced && !j.w.o.strict && it.key == (filter.Key{Set: lost.Set, Term: lost.Term}) {
		// The process does not know yet that its unit was given up: promise P2 does not hold for what it does.
		stale, r.excused, j.excused[m] = true, true, true
		j.w.counts.Stale++
	} else if j.givenUp[set.ID] == a.c && !j.w.o.strict {
		r.excused, j.excused[m] = true, true
	} else if set.Owner != a.c.unit || filter.KeyOf(set) != it.key {
		j.w.fail("%s starts %s under %s, but its route is %s's under %s", a.client, o, it.key, set.Owner, filter.KeyOf(set))
	}
	if len(j.done[m]) > 0 {
		if !j.excused[m] {
			j.w.fail("%s runs %s again", a.client, o)
		}
		j.w.counts.Repeats++
		if j.lost[m] {
			j.w.counts.ForcedRepeats++
		}
	}
	for _, other := range j.now[m] {
		if !other.excused && !j.excused[m] {
			j.w.fail("%s runs %s while %s does", a.client, o, other.a.client)
		}
	}
	for _, c := range j.w.clusters {
		if c == a.c {
			continue
		}
		for _, other := range c.agents {
			for _, x := range j.inFlight[other] {
				if s, _ := j.w.store.table.Lookup(x.value, x.unit); s.ID == set.ID && !x.excused && !stale {
					j.w.fail("%s runs %s while %s still runs %s of the same route", a.client, o, other.client, x.origin)
				}
			}
		}
	}
	if j.w.o.ordered && !stale {
		j.inOrder(r)
	}
	j.inFlight[a] = append(j.inFlight[a], r)
	j.now[m] = append(j.now[m], r)
	return r
}

// inOrder checks that first starts ascend.
func (j *journal) inOrder(r *run) {
	j.w.counts.OrderedRuns++
	l := lane{r.origin.OriginQueue, r.value, ""}
	if r.value == "" {
		l.unit = r.unit
	}
	if last, ok := j.last[l]; ok && !r.m.lost && !r.m.early && !j.begun[r.m] && r.origin.Offset < last {
		j.w.fail("%s starts %s after offset %d of the same route", r.a.client, r.origin, last)
	}
	j.begun[r.m], j.last[l] = true, max(j.last[l], r.origin.Offset)
}

func (j *journal) ended(a *agent, r *run, done bool) {
	what := "ended, failed"
	if done {
		what = "ended, done"
		j.done[r.m] = append(j.done[r.m], r)
	}
	a.trace(what, r.origin, r.key.String())
	j.forget(r)
}

func (j *journal) forget(r *run) {
	j.inFlight[r.a] = without(j.inFlight[r.a], r)
	j.now[r.m] = without(j.now[r.m], r)
}

// killed ends what a process was running.
func (j *journal) killed(a *agent) {
	for len(j.inFlight[a]) > 0 {
		j.forget(j.inFlight[a][0])
	}
}

func without(list []*run, r *run) []*run {
	out := list[:0:0]
	for _, x := range list {
		if x != r {
			out = append(out, x)
		}
	}
	return out
}

// handed is what a hand-over gives to one set.
func (j *journal) handed(h *filter.HandOver, id string) map[msha.OriginQueue]filter.Offsets {
	out := map[msha.OriginQueue]filter.Offsets{}
	for _, r := range h.Records {
		if r.Hash == h.Hashes[id] && r.Group == group {
			out[r.Queue] = r.Spans
		}
	}
	return out
}

// of calls f with each message of a set that the group wants.
func (j *journal) of(table *msha.Table, id string, f func(*message)) {
	for _, m := range j.w.produced {
		if set, _ := table.SetID(m.value, m.unit); set == id && !m.unwanted {
			f(m)
		}
	}
}

// handedOver checks a hand-over before its commit: what the losing unit processed does not remain, everything else does, or is held back with
// a unit that has not rejoined.
func (j *journal) handedOver(table *msha.Table, id string, h *filter.HandOver, held func(*message) bool) {
	handed := j.handed(h, id)
	j.of(table, id, func(m *message) {
		o := j.w.identity(m)
		spans, mentioned := handed[o.OriginQueue]
		left, done := spans.Contains(o.Offset), len(j.done[m]) > 0
		_, away := table.Sets[id].ForcedFrom(m.unit)
		switch {
		case left && done && !j.excused[m] && !m.lost: // what is lost is nowhere to be repeated, unless it was copied: see started
			j.w.fail("the hand-over of %s lists %s, which was processed", id, m.origin)
		case left || done || m.lost || m.early:
		case away || held(m):
			j.w.counts.HeldBack++
		case mentioned:
			j.w.fail("the hand-over of %s forgets %s", id, m.origin)
		}
	})
}

func nothing(*message) bool { return false }

// unreplicated excuses what the losing unit of a forced switch has done, or is doing, and the gaining one cannot know: seen is what of the
// losing unit's logs is copied, and held what is held back.
func (j *journal) unreplicated(o *order, h *filter.HandOver, seen map[*body]bool, held func(*message) bool) {
	for _, x := range o.plan.Moves {
		handed := j.handed(h, x.NewSet)
		j.of(o.table, x.NewSet, func(m *message) {
			p, recorded := j.recorded[m]
			if recorded && (seen[p] || p.log.unit != o.from.unit) {
				return
			}
			id := j.w.identity(m)
			spans, mentioned := handed[id.OriginQueue] // a queue that is not mentioned is processed from its baseline on
			if (spans.Contains(id.Offset) || !mentioned) && !held(m) && len(j.done[m]) > 0 {
				j.excused[m], j.lost[m] = true, true
			}
		})
		j.givenUp[x.NewSet] = o.from
	}
	j.overtake(o)
}

// overtake excuses what is running in the losing unit of a forced switch.
func (j *journal) overtake(o *order) {
	for _, a := range o.from.agents {
		for _, r := range j.inFlight[a] {
			if id, _ := o.table.SetID(r.value, r.unit); j.givenUp[id] == o.from {
				r.excused, j.excused[r.m] = true, true
			}
		}
	}
}

// forced ends a forced switch.
func (j *journal) forced(o *order) {
	j.overtake(o)
	for _, x := range o.plan.Moves {
		delete(j.givenUp, x.NewSet)
		if !x.Whole {
			j.w.counts.ForcedSplits++
		}
		if len(o.table.Sets[x.NewSet].Forced) > 0 {
			j.w.counts.ForcedChains++
		}
	}
	j.w.counts.Forced++
}

// rejoined checks what a term has to process once a unit is back.
func (j *journal) rejoined(table *msha.Table, id, unit string, h *filter.HandOver) {
	handed := j.handed(h, id)
	set := table.Sets[id]
	j.of(table, id, func(m *message) {
		o := j.w.identity(m)
		spans, mentioned := handed[o.OriginQueue]
		left, done := spans.Contains(o.Offset), len(j.done[m]) > 0
		_, away := set.ForcedFrom(m.unit)
		switch {
		case left && done && !j.excused[m] && !m.lost && !j.w.ranUnder(m, filter.KeyOf(set)):
			j.w.fail("the rejoin of %s gives %s to %s, which was processed", unit, m.origin, id)
		case m.lost || m.early:
		case !left && !done && mentioned && !(away && m.unit != unit):
			j.w.fail("the rejoin of %s forgets %s of %s", unit, m.origin, id)
		}
	})
}
