package memory

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/metastoretest"
)

var (
	_ msha.MetaStore  = (*Store)(nil)
	_ msha.Membership = (*Store)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	metastoretest.Run(t, func(t *testing.T) metastoretest.Harness {
		s := New()
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return metastoretest.Harness{Store: s, Members: s, TooLarge: MaxValue + 1}
	})
}

func TestEmptyNamesAreRefused(t *testing.T) {
	s, ctx := New(), context.Background()
	_, err := s.Get(ctx, "")
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = s.Put(ctx, "", nil, 0)
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = s.Join(ctx, "", msha.Member{ID: "a"})
	require.ErrorIs(t, err, msha.ErrInvalid)
}

func TestLeavingTwiceTakesNobodyElseAway(t *testing.T) {
	s, ctx := New(), context.Background()
	leave, err := s.Join(ctx, "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	require.NoError(t, leave(ctx))
	_, err = s.Join(ctx, "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	require.NoError(t, leave(ctx))
	_, err = s.Join(ctx, "agents", msha.Member{ID: "a"})
	require.ErrorIs(t, err, msha.ErrConflict, "the second one is still there")
}
