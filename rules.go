package msha

import (
	"cmp"
	"maps"
	"slices"
)

// CutRule is a rule, or a part of one: all of what it says is named, or nothing.
type CutRule struct {
	Rule
	Named bool
}

// CutRules cuts rules along the named ones, so that each part lies inside them or outside. Only rules of one kind cut each other, because a
// name speaks of what its rule catches. gaps is the rest of the named ones: it is in no rule of its kind. All rules are valid, and those to
// be cut do not overlap.
func CutRules(rules, named []Rule) (cut []CutRule, gaps []Rule) {
	points, there := map[Rule]bool{}, map[Rule]bool{} // rules without bounds
	for _, r := range named {
		points[r.WithoutSet()] = true
	}
	ranges, slots := rangesOf(named), slotsOf(named)
	for _, r := range rules {
		switch r.Kind {
		case RuleRange:
			for _, p := range (span[string]{r.Low, r.High}).cut(ranges) {
				cut = append(cut, CutRule{Rule{Kind: r.Kind, Low: p.low, High: p.high, Set: r.Set}, p.inside})
			}
		case RuleSlot:
			for _, p := range (span[int]{r.From, r.To}).cut(slots) {
				cut = append(cut, CutRule{Rule{Kind: r.Kind, From: p.low, To: p.high, Set: r.Set}, p.inside})
			}
		default:
			there[r.WithoutSet()] = true
			cut = append(cut, CutRule{r, points[r.WithoutSet()]})
		}
	}
	for _, r := range named {
		point := r.WithoutSet()
		if r.Kind != RuleRange && r.Kind != RuleSlot && !there[point] {
			there[point] = true
			gaps = append(gaps, point)
		}
	}
	for _, p := range outside(ranges, rangesOf(rules)) {
		gaps = append(gaps, Rule{Kind: RuleRange, Low: p.low, High: p.high})
	}
	for _, p := range outside(slots, slotsOf(rules)) {
		gaps = append(gaps, Rule{Kind: RuleSlot, From: p.low, To: p.high})
	}
	return cut, gaps
}

// WithoutSet is the rule apart from the route set that it gives its values to.
func (r Rule) WithoutSet() Rule {
	r.Set = ""
	return r
}

// SetsFor lists, sorted, the route sets that now have the values which a rule would catch if it was added, and no rule of its kind overlaps.
// "" stands for values that no rule catches. A range is taken to have values of every slot.
func (t *Table) SetsFor(r Rule) []string {
	ix := t.index
	if ix == nil {
		return []string{""}
	}
	ids := map[string]bool{}
	add := func(x *indexed) {
		if x == nil {
			ids[""] = true
		} else {
			ids[x.id] = true
		}
	}
	switch r.Kind {
	case RuleExact:
		add(t.find(r.Value, ""))
	case RuleUnit:
		add(t.find("", r.Value))
	case RuleRange:
		for _, x := range ix.slots {
			if x == nil {
				x = ix.def
			}
			add(x)
		}
		if ix.slots == nil {
			add(ix.def)
		}
	default:
		add(ix.def)
	}
	return slices.Sorted(maps.Keys(ids))
}

// span is low <= x < high.
type span[K cmp.Ordered] struct{ low, high K }

type spanPart[K cmp.Ordered] struct {
	span[K]
	inside bool
}

// cut cuts a span along others, which ascend and do not overlap.
func (s span[K]) cut(by []span[K]) (parts []spanPart[K]) {
	at := s.low
	for _, b := range by {
		if b.high <= at || b.low >= s.high {
			continue
		}
		if at < b.low {
			parts = append(parts, spanPart[K]{span[K]{at, b.low}, false})
			at = b.low
		}
		end := min(b.high, s.high)
		parts = append(parts, spanPart[K]{span[K]{at, end}, true})
		at = end
	}
	if at < s.high {
		parts = append(parts, spanPart[K]{span[K]{at, s.high}, false})
	}
	return parts
}

// outside lists what of some spans is in none of others; both ascend and do not overlap.
func outside[K cmp.Ordered](spans, others []span[K]) (out []span[K]) {
	for _, s := range spans {
		for _, p := range s.cut(others) {
			if !p.inside {
				out = append(out, p.span)
			}
		}
	}
	return out
}

func rangesOf(rules []Rule) (out []span[string]) {
	for _, r := range rules {
		if r.Kind == RuleRange {
			out = append(out, span[string]{r.Low, r.High})
		}
	}
	return joined(out)
}

func slotsOf(rules []Rule) (out []span[int]) {
	for _, r := range rules {
		if r.Kind == RuleSlot {
			out = append(out, span[int]{r.From, r.To})
		}
	}
	return joined(out)
}

// joined sorts spans and joins those that meet.
func joined[K cmp.Ordered](spans []span[K]) (out []span[K]) {
	slices.SortFunc(spans, func(a, b span[K]) int { return cmp.Compare(a.low, b.low) })
	for _, s := range spans {
		if n := len(out); n > 0 && s.low <= out[n-1].high {
			out[n-1].high = max(out[n-1].high, s.high)
			continue
		}
		out = append(out, s)
	}
	return out
}
