package spread

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQuantile(t *testing.T) {
	require.Zero(t, Quantile(nil, 0.5))
	all := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	require.EqualValues(t, 6, Quantile(all, 0.5))
	require.EqualValues(t, 10, Quantile(all, 0.99))
	require.EqualValues(t, 10, Quantile(all, 1))
}

func TestQuartiles(t *testing.T) {
	require.Zero(t, Of(nil))
	require.Equal(t, Quartiles{2, 3, 4}, Of([]float64{5, 1, 4, 2, 3}))
	require.Equal(t, "1.50 (1.25 to 1.75)", Of([]float64{2, 1}).Format("%.2f"))
}
