package remoting

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestSitesAreMadeAnewWhenServersOrAccessChange(t *testing.T) {
	var access msha.Access
	sites := NewSites("test.access", func(context.Context, msha.UnitInfo) (msha.Access, error) { return access, nil }, slog.New(slog.DiscardHandler))
	defer sites.Close()
	u := msha.UnitInfo{Name: "unit-1", NameServers: []string{"127.0.0.1:1"}}
	reach := func() *Cluster {
		c, err := sites.Reach(t.Context(), u)
		require.NoError(t, err)
		require.Same(t, c, sites.Following("unit-1")())
		return c
	}
	require.Nil(t, sites.Known("unit-1"))
	first := reach()
	require.Same(t, first, reach())
	access.Credentials.AccessKey = "rotated"
	second := reach()
	require.NotSame(t, first, second)
	_, err := first.Brokers(t.Context())
	require.ErrorIs(t, err, msha.ErrClosed, "the one before is closed")
	u.NameServers = []string{"127.0.0.1:2"}
	require.NotSame(t, second, reach())
	require.Nil(t, sites.Known("unit-2"))
	sites.Close()
	require.Nil(t, sites.Known("unit-1"))
}

func TestSitesSayWhoseAccessIsMissing(t *testing.T) {
	missing := errors.New("no such secret")
	sites := NewSites("test.access", func(context.Context, msha.UnitInfo) (msha.Access, error) { return msha.Access{}, missing }, slog.New(slog.DiscardHandler))
	defer sites.Close()
	_, err := sites.Reach(t.Context(), msha.UnitInfo{Name: "unit-1", Credentials: "vault/msha"})
	require.ErrorIs(t, err, missing)
	require.ErrorContains(t, err, "test.access unit-1")
	require.ErrorContains(t, err, `"vault/msha"`)
	_, err = NewSites("test.access", nil, nil).Reach(t.Context(), msha.UnitInfo{Name: "unit-1"})
	require.NoError(t, err, "no access function: no account")
}
