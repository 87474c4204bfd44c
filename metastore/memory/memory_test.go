package memory

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha"
)

var (
	_ msha.MetaStore  = (*Store)(nil)
	_ msha.Membership = (*Store)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEightWritersAreLinear(t *testing.T) {
	s, ctx := New(), context.Background()
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for done := 0; done < 200; {
				d, err := s.Get(ctx, "n")
				if err != nil && !errors.Is(err, msha.ErrNotFound) {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(d.Value))
				if _, err := s.Put(ctx, "n", []byte(strconv.Itoa(n+1)), d.Revision); err == nil {
					done++
				} else if !errors.Is(err, msha.ErrConflict) {
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	d, err := s.Get(ctx, "n")
	require.NoError(t, err)
	require.Equal(t, "1600", string(d.Value))
}

func TestWatchSeesTheCurrentThenNewerOnes(t *testing.T) {
	s := New()
	ctx, cancel := context.WithCancel(context.Background())
	ch, err := s.Watch(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, msha.Document{Key: "k"}, <-ch)
	rev, err := s.Put(ctx, "k", []byte("1"), 0)
	require.NoError(t, err)
	require.Equal(t, msha.Document{Key: "k", Value: []byte("1"), Revision: rev}, <-ch)
	require.NoError(t, s.Delete(ctx, "k", rev))
	require.Zero(t, (<-ch).Revision)
	next, err := s.Put(ctx, "k", []byte("2"), 0)
	require.NoError(t, err)
	require.Greater(t, next, rev, "revisions never go back, not even over a delete")
	require.Equal(t, next, (<-ch).Revision)
	cancel()
	_, open := <-ch
	require.False(t, open)
}

func TestRefusals(t *testing.T) {
	s, ctx := New(), context.Background()
	_, err := s.Put(ctx, "k", nil, 3)
	require.ErrorIs(t, err, msha.ErrConflict)
	_, err = s.Put(ctx, "k", make([]byte, MaxValue+1), 0)
	require.ErrorIs(t, err, msha.ErrTooLarge)
	require.ErrorIs(t, s.Delete(ctx, "k", 0), msha.ErrNotFound)
	_, err = s.Get(ctx, "")
	require.ErrorIs(t, err, msha.ErrInvalid)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.Get(gone, "k")
	require.Equal(t, context.Canceled, err, "context errors are not wrapped")
	require.NoError(t, s.Close())
	_, err = s.Get(ctx, "k")
	require.ErrorIs(t, err, msha.ErrClosed)
}

func TestMembersComeAndGo(t *testing.T) {
	s := New()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ch, err := s.WatchMembers(ctx, "agents")
	require.NoError(t, err)
	require.Empty(t, <-ch)
	leave, err := s.Join(ctx, "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	require.Len(t, <-ch, 1)
	_, err = s.Join(ctx, "agents", msha.Member{ID: "a"})
	require.ErrorIs(t, err, msha.ErrConflict)
	require.NoError(t, leave(ctx))
	require.Empty(t, <-ch)
	cancel()
	for range ch {
	}
}
