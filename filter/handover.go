package filter

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/go-msha/msha"
)

// HandOver is what the next terms of some moves have to process.
type HandOver struct {
	Records []Record          // for every log of the gaining unit
	Hashes  map[string]string // by new set
	Count   int64             // messages the losing unit had pulled and left, all groups together
}

// RemainingAfter computes the hand-over of moves that leave one unit: remaining' = remaining - Done, per group and origin queue. facts
// is the losing unit's log read to its end, with the baselines of the other units (ApplyCopy); table holds the moves' fence.
// ErrMissingFacts if a listed group has no facts.
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
		var rs []Record
		for _, name := range groups {
			g := facts.Group(name)
			rs = append(rs, Record{Kind: Baseline, Group: name, Set: m.NewSet, Term: m.Term + 1})
			for _, q := range g.Queues() {
				remaining, known := g.Remaining(from, set.RemainingHash, q)
				if !known {
					return nil, msha.Errorf("switch.hand over", "group "+name+", queue "+q.String(), "is the group started in unit "+q.Unit+"?",
						"%w: no baseline", msha.ErrMissingFacts)
				}
				left := remaining.Minus(g.Done(from, q))
				out.Count += left.Below(g.Next(q)).Len()
				rs = append(rs, Record{Kind: Baseline, Group: name, Set: m.NewSet, Term: m.Term + 1, Queue: q, Spans: left})
			}
		}
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
