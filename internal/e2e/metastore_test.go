package e2e

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

// metastore is the server that holds a scenario's documents.
type metastore interface {
	client(ctx context.Context) (msha.MetaStore, error)
	kill()
	restart(ctx context.Context) error // with its documents
}

// storeBackend starts the metastore of a scenario; it stops with the test.
type storeBackend func(w *world) metastore

// connect is another client of the metastore; it is closed when the test ends.
func (w *world) connect() msha.MetaStore {
	w.Helper()
	store, err := w.server.client(w.ctx)
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, store.Close()) })
	return store
}

// memoryServer is a store in this process that can be out of reach.
type memoryServer struct {
	store *memory.Store
	down  atomic.Bool
}

func inMemory(w *world) metastore { return &memoryServer{store: memory.New()} }

func (s *memoryServer) client(context.Context) (msha.MetaStore, error) {
	return &memoryClient{Store: s.store, server: s}, nil
}
func (s *memoryServer) kill()                         { s.down.Store(true) }
func (s *memoryServer) restart(context.Context) error { s.down.Store(false); return nil }

type memoryClient struct {
	*memory.Store
	server *memoryServer
}

var errOutOfReach = errors.New("metastore out of reach")

func (c *memoryClient) Get(ctx context.Context, key string) (msha.Document, error) {
	if c.server.down.Load() {
		return msha.Document{}, errOutOfReach
	}
	return c.Store.Get(ctx, key)
}

func (c *memoryClient) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	return c.Get(ctx, key)
}

func (c *memoryClient) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if c.server.down.Load() {
		return 0, errOutOfReach
	}
	return c.Store.Put(ctx, key, value, expect)
}

func (c *memoryClient) Close() error { return nil } // the others go on

func TestPlannedSwitchInMemory(t *testing.T) { t.Parallel(); plannedSwitch(t, onEmbedded, inMemory) }
func TestMetastoreDownInMemory(t *testing.T) {
	t.Parallel()
	metastoreDown(t, onEmbedded, inMemory, 5*time.Second)
}
