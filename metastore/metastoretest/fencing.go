package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/lease"
)

// leaseTTL lets an answer take a second: a busy machine is no fault of the store.
const leaseTTL = 6 * time.Second

func leaseOptions() *lease.Options {
	return &lease.Options{TTL: leaseTTL, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func (c *caseRun) acquire(store msha.MetaStore, key, holder string) *lease.Lease {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, c.Patience+4*leaseTTL)
	defer cancel()
	held, err := lease.Acquire(ctx, store, key, holder, leaseOptions())
	require.NoError(c, err)
	c.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = held.Release(ctx) // ends its goroutine
	})
	return held
}

// silenced is a client whose calls get no answer once it is silent: what a frozen or cut off holder is to the others.
type silenced struct {
	msha.MetaStore
	silent atomic.Bool
}

func (s *silenced) Get(ctx context.Context, key string) (msha.Document, error) {
	if s.silent.Load() {
		<-ctx.Done()
		return msha.Document{}, ctx.Err()
	}
	return s.MetaStore.Get(ctx, key)
}

func (s *silenced) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if s.silent.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return s.MetaStore.Put(ctx, key, value, expect)
}

var fencingCases = []testCase{
	{"lease", "a lease has one holder, others are told who, and each acquisition raises the generation", func(c *caseRun) {
		k, generation := c.key("lease"), uint64(0)
		for i := range 4 {
			held := c.acquire(c.client(i), k, "holder "+strconv.Itoa(i))
			require.NoError(c, held.Check())
			require.Greater(c, held.Generation(), generation)
			generation = held.Generation()
			_, err := lease.TryAcquire(c.ctx, c.client(i+1), k, "another", leaseOptions())
			require.ErrorIs(c, err, msha.ErrBusy)
			require.ErrorContains(c, err, "holder "+strconv.Itoa(i))
			require.NoError(c, held.Release(c.ctx))
			require.ErrorIs(c, held.Check(), msha.ErrClosed)
		}
	}, honoursCompareAndSet},
	{"lease", "of racing contenders one at a time has the lease", func(c *caseRun) {
		const contenders, turns = 4, 3
		k := c.key("lease")
		var inside atomic.Int32
		var mu sync.Mutex
		var generations []uint64
		for _, err := range together(contenders, func(i int) error {
			for range turns {
				ctx, cancel := context.WithTimeout(c.ctx, c.Patience+contenders*turns*leaseTTL)
				held, err := lease.Acquire(ctx, c.client(i), k, strconv.Itoa(i), leaseOptions())
				cancel()
				if err != nil {
					return err
				}
				n := inside.Add(1)
				mu.Lock()
				generations = append(generations, held.Generation())
				mu.Unlock()
				time.Sleep(pollEvery) // others get the time to do wrong
				trusted := held.Check()
				inside.Add(-1)
				release, cancel := context.WithTimeout(c.ctx, c.Patience)
				err = errors.Join(trusted, held.Release(release))
				cancel()
				if err != nil {
					return err
				}
				if n > 1 {
					return fmt.Errorf("%d processes hold the lease", n)
				}
			}
			return nil
		}) {
			require.NoError(c, err)
		}
		require.Len(c, generations, contenders*turns)
		require.True(c, slices.IsSorted(generations), "%v", generations)
		require.Len(c, slices.Compact(generations), contenders*turns, "no generation is used twice")
	}, honoursCompareAndSet},
	{"lease", "a holder that renews keeps the lease; one that falls silent loses its trust before another takes over", func(c *caseRun) {
		k := c.key("lease")
		client := &silenced{MetaStore: c.Store}
		held := c.acquire(client, k, "first")
		waiting, cancel := context.WithTimeout(c.ctx, leaseTTL*3/2)
		_, err := lease.Acquire(waiting, c.Second, k, "second", leaseOptions())
		cancel()
		require.Equal(c, context.DeadlineExceeded, err, "the first is alive")
		require.NoError(c, held.Check())
		client.silent.Store(true)
		next := c.acquire(c.Second, k, "second")
		require.ErrorIs(c, held.Check(), lease.ErrLost)
		select {
		case <-held.Lost():
		default:
			require.Fail(c, "Lost is not closed")
		}
		require.Greater(c, next.Generation(), held.Generation())
		client.silent.Store(false)
		require.NoError(c, held.Release(c.ctx), "the first takes nothing away from the second")
		require.NoError(c, next.Check())
		_, err = lease.TryAcquire(c.ctx, c.Store, k, "third", leaseOptions())
		require.ErrorIs(c, err, msha.ErrBusy)
	}, honoursCompareAndSet},
	{"lease", "on an unsafe store nothing is acquired", func(c *caseRun) {
		_, err := lease.Acquire(c.ctx, c.Store, c.key("lease"), "holder", leaseOptions())
		require.ErrorIs(c, err, msha.ErrUnsafe)
	}, func(h Harness) bool { return h.Unsafe }},
}
