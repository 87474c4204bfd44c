//go:build real && nacos

package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/route"
)

func onRnacos(w *world) metastore {
	s := realstore.Rnacos(w, nil)
	return &storeServer{s, "nacos://" + s.Addr(), w}
}

// TestUnsafeMetastoreRefusesToSwitch: r-nacos ignores compare-and-set. Tables are served and messages flow by them; a switch is refused
// with the reason, and nothing has begun.
func TestUnsafeMetastoreRefusesToSwitch(t *testing.T) {
	w := startOn(t, onEmbedded, onRnacos, ownership, "unit-1", "unit-2")
	for _, unit := range w.names {
		w.join(unit)
	}
	before, err := route.Load(w.ctx, w.store)
	require.NoError(t, err)
	for _, unit := range w.names {
		w.produce(unit)("beijing", 50)
		w.produce(unit)("guangzhou", 50)
	}
	status, _, failure := w.tryMove("values=guangzhou")
	require.Equal(t, http.StatusServiceUnavailable, status, "%+v", failure)
	require.Contains(t, failure.Error, "unsafe metastore")
	require.Contains(t, failure.Error, "casMd5", "the reason")
	v := w.settled()
	w.exact(v)
	require.Equal(t, map[string]int{"unit-1": 100, "unit-2": 100}, v.ByUnit)
	after, err := route.Load(w.ctx, w.store)
	require.NoError(t, err)
	require.Equal(t, before.Version, after.Version)
}
