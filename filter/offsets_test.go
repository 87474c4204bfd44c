package filter

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const naiveSize = 64

// naive is a set of small offsets, the obvious way.
type naive [naiveSize]bool

func (n *naive) add(from, to int64) {
	for i := from; i < to; i++ {
		n[i] = true
	}
}

// setsFrom reads two sets from fuzz input: each byte pair is a span, its lowest bit tells which set it is for.
func setsFrom(data []byte) (a, b Offsets, na, nb naive) {
	for ; len(data) >= 2; data = data[2:] {
		from, to := int64(data[0]>>1)%naiveSize, int64(data[1])%(naiveSize+1)
		if data[0]&1 == 0 {
			a.Add(from, to)
			na.add(from, to)
		} else {
			b.Add(from, to)
			nb.add(from, to)
		}
	}
	return a, b, na, nb
}

func requireSame(t *testing.T, what string, o Offsets, n func(i int) bool) {
	t.Helper()
	require.True(t, o.Valid(), "%s: %v", what, o)
	count := int64(0)
	for i := range naiveSize {
		require.Equal(t, n(i), o.Contains(int64(i)), "%s: %d in %v", what, i, o)
		if n(i) {
			count++
		}
	}
	require.Equal(t, count, o.Len(), what)
}

func FuzzOffsets(f *testing.F) {
	f.Add([]byte{0, 5, 10, 20, 1, 7, 12, 13})
	f.Add([]byte{2, 3, 4, 5, 2, 5, 3, 9, 9, 30})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, b, na, nb := setsFrom(data)
		requireSame(t, "a", a, func(i int) bool { return na[i] })
		requireSame(t, "union", a.Union(b), func(i int) bool { return na[i] || nb[i] })
		requireSame(t, "intersect", a.Intersect(b), func(i int) bool { return na[i] && nb[i] })
		requireSame(t, "minus", a.Minus(b), func(i int) bool { return na[i] && !nb[i] })
		requireSame(t, "below", a.Below(17), func(i int) bool { return na[i] && i < 17 })
		requireSame(t, "a afterwards", a, func(i int) bool { return na[i] })
		require.Equal(t, na == nb, a.Equal(b))
		var again Offsets
		for _, p := range a.pieces(2) {
			again = again.Union(p)
		}
		require.True(t, again.Equal(a))
	})
}

func TestOffsetsWithoutEnd(t *testing.T) {
	o := From(5).Minus(Range(7, 9))
	require.Equal(t, "[5,7) [9,∞)", o.String())
	require.EqualValues(t, End, o.Len())
	require.True(t, o.Contains(1<<40))
	require.Equal(t, "[5,7) [9,10)", o.Below(10).String())
	require.Equal(t, Offsets{{0, End}}, From(-3))
}
