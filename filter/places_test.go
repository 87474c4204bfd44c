package filter

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever is done to them, places hold what a map would.
func TestPlacesAreAMap(t *testing.T) {
	for seed := range uint64(20) {
		random, places, want := rand.New(rand.NewPCG(seed, 0)), places{}, map[int64]int32{}
		for range 3000 {
			off := random.Int64N(100)
			if seed%2 == 0 {
				off *= 37 // hardly any share a page
			}
			switch p := places.find(off); random.IntN(3) {
			case 0:
				places.note(off).buffered++
				want[off]++
			case 1:
				places.drop(off)
				delete(want, off)
			default:
				n, there := want[off]
				require.Equal(t, there, p != nil)
				if there {
					require.Equal(t, n, p.buffered)
				}
			}
		}
		got := map[int64]int32{}
		for off, p := range places.all() {
			got[off] = p.buffered
		}
		require.Equal(t, want, got)
	}
}
