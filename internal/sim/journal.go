package sim

import (
	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// journal is the simulation's own evidence: which handler ran when. It knows what is true everywhere at once, which no agent does.
type journal struct {
	w        *world
	inFlight map[*agent][]*run
	now      map[msha.Origin][]*run // in flight
	done     map[msha.Origin][]*run // successful or dead-lettered
	excused  map[msha.Origin]bool   // a process was killed or frozen with it in flight or unpublished: it may repeat
	begun    map[msha.Origin]bool   // of an ordered group
	last     map[lane]int64         // highest offset that was begun
}

// lane is what is in order across units: the messages of a route in one queue.
type lane struct {
	queue       msha.OriginQueue
	value, unit string
}

// run is one handler run.
type run struct {
	a       *agent
	origin  msha.Origin
	value   string
	unit    string // where the message was produced
	key     filter.Key
	excused bool // its process was killed or frozen meanwhile
}

func newJournal(w *world) *journal {
	return &journal{w: w, inFlight: map[*agent][]*run{}, now: map[msha.Origin][]*run{}, done: map[msha.Origin][]*run{}, excused: map[msha.Origin]bool{},
		begun: map[msha.Origin]bool{}, last: map[lane]int64{}}
}

// started checks what must hold at the first instruction of a handler.
func (j *journal) started(a *agent, it *item) *run {
	o := it.m.origin
	a.trace("started run", o, it.m.number+" "+it.m.value+" "+it.key.String())
	r := &run{a: a, origin: o, value: it.m.value, unit: it.m.unit, key: it.key}
	j.w.counts.Runs++
	if j.w.store.down {
		j.w.counts.RunsInOutage++
	}
	set, _ := j.w.store.table.Lookup(r.value, r.unit)
	if set.Owner != a.c.unit || filter.KeyOf(set) != it.key {
		j.w.fail("%s starts %s under %s, but its route is %s's under %s", a.client, o, it.key, set.Owner, filter.KeyOf(set))
	}
	if len(j.done[o]) > 0 {
		if !j.excused[o] {
			j.w.fail("%s runs %s again", a.client, o)
		}
		j.w.counts.Repeats++
	}
	for _, other := range j.now[o] {
		if !other.excused && !j.excused[o] {
			j.w.fail("%s runs %s while %s does", a.client, o, other.a.client)
		}
	}
	for _, c := range j.w.clusters {
		if c == a.c {
			continue
		}
		for _, other := range c.agents {
			for _, x := range j.inFlight[other] {
				if s, _ := j.w.store.table.Lookup(x.value, x.unit); s.ID == set.ID && !x.excused {
					j.w.fail("%s runs %s while %s still runs %s of the same route", a.client, o, other.client, x.origin)
				}
			}
		}
	}
	if j.w.o.ordered {
		j.inOrder(r)
	}
	j.inFlight[a] = append(j.inFlight[a], r)
	j.now[o] = append(j.now[o], r)
	return r
}

// inOrder checks that first starts ascend.
func (j *journal) inOrder(r *run) {
	j.w.counts.OrderedRuns++
	l := lane{r.origin.OriginQueue, r.value, ""}
	if r.value == "" {
		l.unit = r.unit
	}
	if last, ok := j.last[l]; ok && !j.begun[r.origin] && r.origin.Offset < last {
		j.w.fail("%s starts %s after offset %d of the same route", r.a.client, r.origin, last)
	}
	j.begun[r.origin], j.last[l] = true, max(j.last[l], r.origin.Offset)
}

func (j *journal) ended(a *agent, r *run, done bool) {
	what := "ended, failed"
	if done {
		what = "ended, done"
		j.done[r.origin] = append(j.done[r.origin], r)
	}
	a.trace(what, r.origin, r.key.String())
	j.forget(r)
}

func (j *journal) forget(r *run) {
	j.inFlight[r.a] = without(j.inFlight[r.a], r)
	j.now[r.origin] = without(j.now[r.origin], r)
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

// handedOver checks a hand-over before its commit: what the losing unit processed does not remain, everything else does.
func (j *journal) handedOver(table *msha.Table, moves []msha.Move, h *filter.HandOver) {
	remaining := map[string]map[msha.OriginQueue]filter.Offsets{}
	for _, r := range h.Records {
		if r.Group == group && r.Queue.Topic != "" {
			if remaining[r.Set] == nil {
				remaining[r.Set] = map[msha.OriginQueue]filter.Offsets{}
			}
			remaining[r.Set][r.Queue] = r.Spans
		}
	}
	for _, m := range moves {
		for _, msg := range j.w.produced {
			id, _ := table.SetID(msg.value, msg.unit)
			spans, mentioned := remaining[m.NewSet][msg.origin.OriginQueue]
			if id != m.NewSet || msg.unwanted || !mentioned && len(j.done[msg.origin]) == 0 {
				continue
			}
			switch left := spans.Contains(msg.origin.Offset); {
			case left && len(j.done[msg.origin]) > 0 && !j.excused[msg.origin]:
				j.w.fail("the hand-over of %s to %s lists %s, which was processed", m.NewSet, m.To, msg.origin)
			case !left && len(j.done[msg.origin]) == 0:
				j.w.fail("the hand-over of %s to %s forgets %s", m.NewSet, m.To, msg.origin)
			}
		}
	}
}
