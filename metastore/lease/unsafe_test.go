package lease

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

// forgetful finds out, by the read or the write itself, that its server lost accepted writes.
type forgetful struct {
	scripted
	onGet, onPut bool
}

func (s *forgetful) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	if s.onGet {
		s.unsafe.Store(true)
		return msha.Document{}, msha.Errorf("get", key, "", "document %w", msha.ErrNotFound)
	}
	return s.Store.GetFresh(ctx, key)
}

func (s *forgetful) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	r, err := s.Store.Put(ctx, key, value, expect)
	if s.onPut {
		s.unsafe.Store(true)
	}
	return r, err
}

func TestAStoreThatTurnsOutUnsafeGivesNoLease(t *testing.T) {
	for name, s := range map[string]*forgetful{"by the read": {onGet: true}, "by the write": {onPut: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s.Store = memory.New()
				l, err := TryAcquire(t.Context(), s, "k", "h", quietly())
				require.ErrorIs(t, err, msha.ErrUnsafe)
				require.Nil(t, l)
				_, err = s.Store.Get(t.Context(), "k")
				require.Equal(t, s.onPut, err == nil, "nothing is written to a store known to be unsafe")
				require.NoError(t, s.Close())
			})
		})
	}
}

func TestReleaseEndsTheTrustBeforeItWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted, l *Lease) {
		s.on(func(context.Context, string, []byte, msha.Revision) (msha.Revision, error) {
			time.Sleep(time.Second) // a driver that does not look at its context
			return 0, errors.New("down")
		})
		time.Sleep(5*time.Second + time.Millisecond) // a renewal is on its way
		released := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		go func() { released <- l.Release(ctx) }()
		synctest.Wait()
		require.Empty(t, released)
		require.True(t, isLost(l))
		require.ErrorIs(t, l.Check(), msha.ErrClosed)
		require.Equal(t, context.DeadlineExceeded, <-released)
	})
}

func TestReleaseGivesUpOnceTheOthersNeedNotWaitAnyMore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted, l *Lease) {
		s.on(func(context.Context, string, []byte, msha.Revision) (msha.Revision, error) {
			return 0, errors.New("down")
		})
		began := time.Now()
		err := l.Release(context.Background())
		require.ErrorContains(t, err, "down")
		require.InDelta(t, 15, time.Since(began).Seconds(), 1, "the TTL")
	})
}
