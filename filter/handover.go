package filter

import (
	"crypto/sha256"
	"encoding/hex"
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
}

func (h *handed) complete() bool { return h != nil && h.records > 0 && len(h.parts)+1 == h.records }

// handedOver are the hand-overs a unit received. One may span several bodies of a log, and be written twice by managers that take turns.
type handedOver map[handover]*handed

func (all handedOver) apply(r Record) {
	name := handover{r.Key(), r.Hash}
	h := all[name]
	if h == nil {
		h = &handed{parts: map[part]Offsets{}, spans: map[groupQueue]Offsets{}, pulled: map[groupQueue]int64{}}
		all[name] = h
	}
	if r.Group == "" {
		h.records = r.Chunks
		return
	}
	gq := groupQueue{r.Group, r.Queue}
	h.parts[part{gq, r.Chunk}] = r.Spans
	h.spans[gq] = h.spans[gq].Union(r.Spans)
	h.pulled[gq] = r.Next
}

func (all handedOver) spans(k Key, hash, group string, q msha.OriginQueue) (o Offsets, mentioned bool) {
	if h := all[handover{k, hash}]; h != nil {
		o, mentioned = h.spans[groupQueue{group, q}]
	}
	return o, mentioned
}

// HandedOver tells whether the log holds all of the hand-over that a term began with. A term without one is a first term.
func (g *GroupFacts) HandedOver(k Key, hash string) bool {
	return hash == "" || g.handed[handover{k, hash}].complete()
}

// HandOver is what the next terms of some moves have to process.
type HandOver struct {
	Records []Record          // for every log of the gaining unit
	Hashes  map[string]string // by new set
	Count   int64             // messages the losing unit had pulled and left, all groups together
}

// RemainingAfter computes the hand-over of moves that leave one unit: remaining' = remaining - Done, per group and origin queue. facts
// is the losing unit's log read to its end, and after that its copies of the other units' logs (ApplyCopy); table holds the moves' fence.
//
// A queue without a known baseline is not mentioned: nobody in the losing unit can have started any of it, so the next term begins it
// at its baseline, as a first term would. The same goes for a group that the losing unit's log does not mention. If the group had
// processed anything of the set in an earlier term elsewhere, the hand-over of that term would have named it here.
//
// ErrMissingFacts if a listed group has no facts, or if the hand-over that the ending term began with is not complete.
func RemainingAfter(facts *Facts, table *msha.Table, moves []msha.Move, listed []string) (*HandOver, error) {
	groups := facts.Groups()
	for _, name := range listed {
		if !slices.Contains(groups, name) || len(facts.Group(name).Queues()) == 0 {
			return nil, msha.Errorf("switch.hand over", "group "+name, "start it once in this unit, or take it out of the unit document",
				"%w: a listed group has none in the unit's log", msha.ErrMissingFacts)
		}
	}
	out := &HandOver{Hashes: map[string]string{}}
	for _, m := range moves {
		set := table.Sets[m.NewSet]
		from := KeyOf(set)
		if set.RemainingHash != "" && !facts.handed[handover{from, set.RemainingHash}].complete() {
			return nil, msha.Errorf("switch.hand over", "route set "+m.NewSet, "did the unit's log lose its beginning?",
				"%w: the hand-over that term %d began with is not complete in the unit's log", msha.ErrMissingFacts, set.Term)
		}
		rs := []Record{{Kind: Baseline, Set: m.NewSet, Term: m.Term + 1}}
		for _, name := range groups {
			g := facts.Group(name)
			for _, q := range g.Queues() {
				remaining, known := g.Remaining(from, set.RemainingHash, q)
				if !known {
					continue
				}
				left := remaining.Minus(g.Done(from, q))
				out.Count += left.Below(g.Next(q)).Len()
				for i, spans := range left.pieces(maxSpans) {
					rs = append(rs, Record{Kind: Baseline, Group: name, Set: m.NewSet, Term: m.Term + 1, Queue: q, Spans: spans, Chunk: i, Next: g.Next(q)})
				}
			}
		}
		rs[0].Chunks = len(rs)
		sum := sha256.Sum256(EncodeRecords(rs))
		hash := hex.EncodeToString(sum[:12])
		for i := range rs {
			rs[i].Hash = hash
		}
		out.Hashes[m.NewSet] = hash
		out.Records = append(out.Records, rs...)
	}
	return out, nil
}
