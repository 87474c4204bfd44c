package filter

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// End is the exclusive end of a span that has no end.
const End = math.MaxInt64

// Span is the half-open interval [From, To) of origin offsets.
type Span struct{ From, To int64 }

// Offsets is a set of offsets: ascending, disjoint, non-adjacent, non-empty spans. The zero value is empty. Methods other than Add
// return new sets and never change their operands.
type Offsets []Span

// From is the set of all offsets at or above low.
func From(low int64) Offsets { return Offsets{{max(low, 0), End}} }

// Range is the set [from, to), empty unless from < to.
func Range(from, to int64) Offsets {
	if from >= to {
		return nil
	}
	return Offsets{{from, to}}
}

// Valid tells whether o keeps the invariants of the type.
func (o Offsets) Valid() bool {
	for i, s := range o {
		if s.From < 0 || s.From >= s.To || i > 0 && s.From <= o[i-1].To {
			return false
		}
	}
	return true
}

// Empty tells whether the set has no offset.
func (o Offsets) Empty() bool { return len(o) == 0 }

// Len counts the offsets; End if the set has no end.
func (o Offsets) Len() int64 {
	var n int64
	for _, s := range o {
		if s.To == End {
			return End
		}
		n += s.To - s.From
	}
	return n
}

// Contains tells whether off is in the set.
func (o Offsets) Contains(off int64) bool {
	i := o.search(off)
	return i < len(o) && o[i].From <= off
}

// search gives the first span that ends after off.
func (o Offsets) search(off int64) int {
	if n := len(o); n > 0 && off >= o[n-1].From { // the usual case: at the tail
		if off < o[n-1].To {
			return n - 1
		}
		return n
	}
	return sort.Search(len(o), func(i int) bool { return o[i].To > off })
}

// Add puts [from, to) into the set, in place. It is cheap at the tail.
func (o *Offsets) Add(from, to int64) {
	if from >= to {
		return
	}
	s := *o
	lo := len(s) // first span that touches or lies after [from, to)
	if lo > 0 && s[lo-1].To >= from {
		lo = sort.Search(len(s), func(i int) bool { return s[i].To >= from })
	}
	hi := lo
	for hi < len(s) && s[hi].From <= to {
		from, to = min(from, s[hi].From), max(to, s[hi].To)
		hi++
	}
	*o = slices.Replace(s, lo, hi, Span{from, to})
}

// Clone copies the set.
func (o Offsets) Clone() Offsets { return slices.Clone(o) }

// Union is the set of offsets in either.
func (o Offsets) Union(p Offsets) Offsets {
	out := make(Offsets, 0, len(o)+len(p))
	for i, j := 0, 0; i < len(o) || j < len(p); {
		var s Span
		if j == len(p) || i < len(o) && o[i].From <= p[j].From {
			s, i = o[i], i+1
		} else {
			s, j = p[j], j+1
		}
		if n := len(out); n > 0 && s.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, s.To)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// Intersect is the set of offsets in both.
func (o Offsets) Intersect(p Offsets) Offsets {
	var out Offsets
	for i, j := 0, 0; i < len(o) && j < len(p); {
		if from, to := max(o[i].From, p[j].From), min(o[i].To, p[j].To); from < to {
			out = append(out, Span{from, to})
		}
		if o[i].To < p[j].To {
			i++
		} else {
			j++
		}
	}
	return out
}

// Minus is the set of offsets in o and not in p.
func (o Offsets) Minus(p Offsets) Offsets {
	var out Offsets
	j := 0
	for _, s := range o {
		for j < len(p) && p[j].To <= s.From {
			j++
		}
		for k := j; k < len(p) && p[k].From < s.To; k++ {
			if s.From < p[k].From {
				out = append(out, Span{s.From, p[k].From})
			}
			s.From = max(s.From, p[k].To)
			if s.From >= s.To {
				break
			}
		}
		if s.From < s.To {
			out = append(out, s)
		}
	}
	return out
}

// Below is the part of the set below limit.
func (o Offsets) Below(limit int64) Offsets { return o.Intersect(Range(0, limit)) }

// maxSpans bounds the spans of one record.
const maxSpans = 1 << 14

// pieces cuts the set into sets of at most n spans; an empty set is one piece.
func (o Offsets) pieces(n int) []Offsets {
	if len(o) <= n {
		return []Offsets{o}
	}
	return slices.Collect(slices.Chunk(o, n))
}

// compareSpans orders pieces of one set.
func compareSpans(a, b Offsets) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(a), len(b))
	}
	return cmp.Compare(a[0].From, b[0].From)
}

// Equal tells whether both hold the same offsets.
func (o Offsets) Equal(p Offsets) bool { return slices.Equal(o, p) }

// String is for logs: [0,5) [7,∞).
func (o Offsets) String() string {
	parts := make([]string, len(o))
	for i, s := range o {
		to := "∞"
		if s.To != End {
			to = strconv.FormatInt(s.To, 10)
		}
		parts[i] = "[" + strconv.FormatInt(s.From, 10) + "," + to + ")"
	}
	return strings.Join(parts, " ")
}
