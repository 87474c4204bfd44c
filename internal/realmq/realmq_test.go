package realmq_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/realmq"
)

func TestMissingToolsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("MSHA_CACHE", t.TempDir())
	_, err := realmq.Start(t.Context(), nil)
	require.ErrorIs(t, err, realmq.ErrMissingTool)
	require.ErrorContains(t, err, "java is not in PATH: run 'make deps'")
	_, err = realmq.Fetch(t.Context(), realmq.V5)
	require.ErrorIs(t, err, realmq.ErrMissingTool)
	require.ErrorContains(t, err, "mvn is not in PATH: run 'make deps'")
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []*realmq.Options{
		{DelayLevels: []time.Duration{time.Millisecond}},
		{Brokers: []string{""}},
		{Brokers: []string{"a", "a"}},
		{Brokers: []string{"a"}, Slaves: []string{"b"}},
		{Accounts: []realmq.Account{{AccessKey: "administrator", SecretKey: "short", Admin: true}}},
		{Accounts: []realmq.Account{{AccessKey: "no administrator", SecretKey: "long enough"}}},
	} {
		_, err := realmq.Start(t.Context(), o)
		require.Error(t, err)
	}
}
