package filter

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// What an operator skipped is nobody's any more under the terms owned here, and no later owner gets it; what is being worked on is not
// skipped.
func TestPassOver(t *testing.T) {
	own, foreign := Key{"o", 1}, Key{"s", 1}
	for name, c := range map[string]struct {
		owner string
		done  string // of the term of "s"
	}{
		"own":       {"unit-1", "[5,6) [7,8) [10,20)"},
		"not owned": {"unit-2", ""},
	} {
		r := newReader(table(1, c.owner, 1, msha.SetOpen, ""))
		r.Pulled(localHome, homeQueue, []Message{at(3), at(4)}, 5) // buffered
		open := func(off int64, number string) Record {
			o := opened(number, "w2", 1)
			o.Offset = off
			return o
		}
		r.read(open(6, "n6"), SentOf(open(6, "n6")), open(8, "n8")) // by a process that had read further before it died
		r.Reread(at(9))
		require.True(t, r.PassOver(homeQueue, 20), name)
		require.Equal(t, c.done, r.Facts().Done(foreign, homeQueue).Minus(Range(0, 3)).String(), name)
		require.Equal(t, "[5,9) [10,20)", r.Facts().Done(own, homeQueue).Minus(Range(0, 5)).String(), name)
		if c.owner == "unit-1" {
			require.Empty(t, r.Pending(homeQueue).Minus(Range(0, 3)), name)
			require.Equal(t, Run, r.Start(copyOf(6, "n6")).Verdict, name)
		}
		require.False(t, r.PassOver(homeQueue, 12), "behind it")
		require.False(t, r.PassOver(copyQueue, 12), "not held")
		published := NewFacts()
		for _, part := range r.Publish() {
			for _, rec := range part.Records {
				published.Apply("b", rec)
			}
		}
		require.EqualValues(t, 20, published.Group("g").Next(homeQueue), name)
		require.Equal(t, c.done, published.Group("g").Done(foreign, homeQueue).Minus(Range(0, 3)).String(), name)
		require.Zero(t, published.Group("g").Next(copyQueue), name)
		r.Pulled(localHome, homeQueue, []Message{at(20)}, 21)
		if c.owner == "unit-1" {
			require.Equal(t, Run, r.Start(at(20)).Verdict, name)
		}
	}
}
