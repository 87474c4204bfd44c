// Package spread tells how measured values are spread.
package spread

import (
	"fmt"
	"slices"
	"time"
)

// Quantile is the duration of a rank, without interpolation: of durations in any order, 0 without any.
func Quantile(of []time.Duration, q float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// Quartiles are a median and the quartiles beside it.
type Quartiles struct{ Low, Median, High float64 }

// Of interpolates between values; all is 0 without any.
func Of(values []float64) Quartiles {
	if len(values) == 0 {
		return Quartiles{}
	}
	v := slices.Sorted(slices.Values(values))
	at := func(q float64) float64 {
		pos := q * float64(len(v)-1)
		i := int(pos)
		return v[i] + (pos-float64(i))*(v[min(i+1, len(v)-1)]-v[i])
	}
	return Quartiles{at(.25), at(.5), at(.75)}
}

// Format writes the median and, in parentheses, the quartiles, each by a verb like %.2f.
func (q Quartiles) Format(verb string) string {
	return fmt.Sprintf(verb+" ("+verb+" to "+verb+")", q.Median, q.Low, q.High)
}
