package filter

import "github.com/go-msha/msha"

// Again is what a group is to process once more.
type Again struct {
	Group  string
	Ranges map[msha.OriginQueue]Offsets
}

// RemainingAgain is RemainingAfter for terms that stay in their unit and begin with messages that were processed before: a replay. What lies below
// a group's baseline was never its own to process, and is left out.
func RemainingAgain(facts *Facts, table *msha.Table, moves []msha.Move, listed []string, again Again) (*HandOver, error) {
	return remainingAfter(facts, table, moves, listed, nil, &again)
}

// add puts what is to be processed once more to what is left of a queue; it returns how much of it had been dealt with.
func (a *Again) add(g *GroupFacts, p *plannedPart) int64 {
	if a == nil || a.Group != p.group {
		return 0
	}
	more := a.Ranges[p.queue]
	if begin, known := g.Baseline(p.queue); known {
		more = more.Intersect(From(begin))
	}
	more = more.Minus(p.left)
	p.left = p.left.Union(more)
	return more.Below(p.pulled).Len()
}
