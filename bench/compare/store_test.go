package main

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

func TestServedStoreIsWatched(t *testing.T) {
	shared := memory.New()
	server := httptest.NewServer(serveStore(shared))
	defer server.Close()
	defer shared.Close() //nolint:errcheck // in memory
	open := func(namespace string) msha.MetaStore {
		s, err := openStore(t.Context(), server.URL, namespace)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	reader, writer, other := open("a"), open("a"), open("b")
	docs, err := reader.Watch(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, msha.Document{Key: "k"}, <-docs)

	_, err = other.Put(t.Context(), "k", []byte("of another side"), 0)
	require.NoError(t, err)
	revision, err := writer.Put(t.Context(), "k", []byte("v"), 0)
	require.NoError(t, err)
	want := msha.Document{Key: "k", Value: []byte("v"), Revision: revision}
	require.Equal(t, want, <-docs)
	got, err := reader.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = writer.Put(t.Context(), "k", nil, 0)
	require.ErrorIs(t, err, msha.ErrConflict)

	require.NoError(t, reader.Close())
	_, more := <-docs
	require.False(t, more)
}
