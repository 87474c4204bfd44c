package msha_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

// staleStore shows an older document for a number of reads after each change, and has no linearizable read.
type staleStore struct {
	msha.MetaStore
	old       map[string]msha.Document
	stale     int // reads of the old one left
	gets      int
	puts      int
	conflicts int
}

func newStaleStore() *staleStore {
	return &staleStore{MetaStore: memory.New(), old: map[string]msha.Document{}}
}

func (s *staleStore) Get(ctx context.Context, key string) (msha.Document, error) {
	s.gets++
	if d, ok := s.old[key]; ok && s.stale > 0 {
		s.stale--
		return d, nil
	}
	return s.MetaStore.Get(ctx, key)
}

func (s *staleStore) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	s.puts++
	before, err := s.MetaStore.Get(ctx, key)
	r, putErr := s.MetaStore.Put(ctx, key, value, expect)
	if putErr == nil && err == nil && string(before.Value) != string(value) {
		s.old[key], s.stale = before, 4
	}
	if errors.Is(putErr, msha.ErrConflict) {
		s.conflicts++
	}
	return r, putErr
}

func count(n int) func(msha.Document) ([]byte, error) {
	return func(old msha.Document) ([]byte, error) {
		have, _ := strconv.Atoi(string(old.Value))
		return strconv.AppendInt(nil, int64(have+n), 10), nil
	}
}

func TestUpdateAndGetFreshSeeThroughStaleReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := newStaleStore(), t.Context()
		for range 10 {
			require.NoError(t, msha.Update(ctx, s, "k", count(1)))
		}
		require.Positive(t, s.conflicts)
		s.stale = 4
		d, err := msha.GetFresh(ctx, s, "k")
		require.NoError(t, err)
		require.Equal(t, "10", string(d.Value))
	})
}

func TestUpdateBelievesNoRefusalThatAStaleReadGave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := newStaleStore(), t.Context()
		_, err := s.Put(ctx, "k", []byte("open"), 0)
		require.NoError(t, err)
		require.NoError(t, msha.Update(ctx, s, "k", func(msha.Document) ([]byte, error) { return []byte("fenced"), nil }))
		notFenced := errors.New("not fenced")
		require.NoError(t, msha.Update(ctx, s, "k", func(old msha.Document) ([]byte, error) {
			if string(old.Value) != "fenced" {
				return nil, notFenced
			}
			return []byte("committed"), nil
		}))
		require.ErrorIs(t, msha.Update(ctx, s, "k", func(msha.Document) ([]byte, error) { return nil, notFenced }), notFenced)
		s.stale = 4
		require.NoError(t, msha.Update(ctx, s, "k", func(old msha.Document) ([]byte, error) { // reopen if it is not open
			if string(old.Value) == "fenced" {
				return old.Value, nil
			}
			return []byte("open"), nil
		}))
		d, err := s.MetaStore.Get(ctx, "k")
		require.NoError(t, err)
		require.Equal(t, "open", string(d.Value))
	})
}

func TestUpdateOfALinearizableStoreWritesOnlyChanges(t *testing.T) {
	s, ctx := memory.New(), t.Context()
	require.NoError(t, msha.Update(ctx, s, "k", count(1)))
	before, err := s.Get(ctx, "k")
	require.NoError(t, err)
	require.NoError(t, msha.Update(ctx, s, "k", count(0)))
	after, err := s.Get(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, before, after)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.Equal(t, context.Canceled, msha.Update(ended, s, "k", count(1)))
}

func TestUpdateEndsWithItsContextWhileItConflicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStaleStore()
		require.NoError(t, msha.Update(t.Context(), s, "k", count(1)))
		require.NoError(t, msha.Update(t.Context(), s, "k", count(1)))
		s.stale = 1 << 30
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- msha.Update(ctx, s, "k", count(1)) }()
		synctest.Wait()
		cancel()
		require.Equal(t, context.Canceled, <-done)
	})
}

// unsafeStore accepts any revision, and says so.
type unsafeStore struct{ *staleStore }

func (s unsafeStore) Put(ctx context.Context, key string, value []byte, _ msha.Revision) (msha.Revision, error) {
	d, err := s.MetaStore.Get(ctx, key)
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return 0, err
	}
	return s.staleStore.Put(ctx, key, value, d.Revision)
}

func (unsafeStore) Safe() error { return msha.ErrUnsafe }

func TestGetFreshDoesNotWriteWhatItReadToAnUnsafeStore(t *testing.T) {
	s, ctx := unsafeStore{newStaleStore()}, t.Context()
	for _, v := range []string{"1", "2"} {
		_, err := s.Put(ctx, "k", []byte(v), 0)
		require.NoError(t, err)
	}
	d, err := msha.GetFresh(ctx, s, "k")
	require.NoError(t, err)
	require.Equal(t, "1", string(d.Value), "stale, which is no reason to store it")
	d, err = s.MetaStore.Get(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "2", string(d.Value))
}
