package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

func TestDemoLeavesAnInstallationAlone(t *testing.T) {
	for _, key := range demoKeys() {
		store := memory.New()
		require.NoError(t, requireVacant(t.Context(), store))
		_, err := store.Put(t.Context(), key, []byte("of somebody"), 0)
		require.NoError(t, err)
		err = requireVacant(t.Context(), store)
		require.ErrorIs(t, err, msha.ErrConflict, key)
		require.ErrorContains(t, err, "msha.commander.namespace")
		require.NoError(t, remove(t.Context(), store, key))
		require.NoError(t, remove(t.Context(), store, key), "it is gone already")
		require.NoError(t, requireVacant(t.Context(), store))
	}
}
