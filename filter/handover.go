package filter

import (
	"maps"
	"slices"

	"github.com/go-msha/msha"
)

// handover names one: the term that begins with it, and its content, since an aborted one may be followed by another.
type handover struct {
	Key
	hash string
}

type groupQueue struct {
	group string
	queue msha.OriginQueue
}

type part struct {
	groupQueue
	chunk int
}

// handed is what the logs hold of one hand-over.
type handed struct {
	records int // of how many it consists; 0: not known yet
	parts   map[part]Offsets
	spans   map[groupQueue]Offsets // the parts of each queue together
	pulled  map[groupQueue]int64   // how far the losing unit had pulled: what remains below was left by it
	held    map[string]bool        // units that have not rejoined: what they had not copied is not handed over
	limits  map[groupQueue]int64   // where that begins in their queues; 0 in those that are not mentioned
}

func (h *handed) complete() bool {
	return h != nil && h.records > 0 && len(h.parts)+len(h.held)+1 == h.records
}

// handedOver are the hand-overs a unit received. One may span several bodies of a log, and be written twice by managers that take turns.
type handedOver map[handover]*handed

func (all handedOver) apply(r Record) {
	name := handover{r.Key(), r.Hash}
	h := all[name]
	if h == nil {
		h = &handed{parts: map[part]Offsets{}, spans: map[groupQueue]Offsets{}, pulled: map[groupQueue]int64{}, held: map[string]bool{}, limits: map[groupQueue]int64{}}
		all[name] = h
	}
	switch {
	case r.Group == "" && r.Queue.Unit != "":
		h.held[r.Queue.Unit] = true
		return
	case r.Group == "":
		h.records = r.Chunks
		return
	}
	gq := groupQueue{r.Group, r.Queue}
	h.parts[part{gq, r.Chunk}] = r.Spans
	h.spans[gq] = h.spans[gq].Union(r.Spans)
	h.pulled[gq] = r.Next
	h.limits[gq] = r.Offset
}

func (all handedOver) spans(k Key, hash, group string, q msha.OriginQueue) (o Offsets, mentioned bool) {
	if h := all[handover{k, hash}]; h != nil {
		o, mentioned = h.spans[groupQueue{group, q}]
	}
	return o, mentioned
}

// has tells whether the hand-over that a term began with is there; a first term has none.
func (all handedOver) has(name handover) bool { return name.hash == "" || all[name].complete() }

// held lists the units of which something is held back.
func (all handedOver) held(name handover) []string {
	if h := all[name]; h != nil {
		return slices.Sorted(maps.Keys(h.held))
	}
	return nil
}

// limit is from where on a queue is held back, if its unit is.
func (all handedOver) limit(name handover, group string, q msha.OriginQueue) int64 {
	if h := all[name]; h != nil {
		return h.limits[groupQueue{group, q}]
	}
	return 0
}

// pulled is how far the losing unit had pulled a queue.
func (all handedOver) pulled(name handover, group string, q msha.OriginQueue) int64 {
	if h := all[name]; h != nil {
		return h.pulled[groupQueue{group, q}]
	}
	return 0
}

// HandedOver tells whether the log holds all of the hand-over that a term began with. A term without one is a first term.
func (g *GroupFacts) HandedOver(k Key, hash string) bool { return g.handed.has(handover{k, hash}) }

// heldBack tells whether all of a queue is held back, because its unit has not rejoined.
func (g *GroupFacts) heldBack(name handover, q msha.OriginQueue) bool {
	h := g.handed[name]
	if h == nil {
		return false
	}
	_, mentioned := h.spans[groupQueue{g.name, q}]
	return !mentioned && h.held[q.Unit]
}
