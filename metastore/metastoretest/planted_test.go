package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

func TestACorrectStorePasses(t *testing.T) {
	t.Parallel()
	require.Empty(t, failing("", 0, func() Harness {
		s := memory.New()
		return Harness{Store: s, Members: s, TooLarge: memory.MaxValue + 1}
	}))
}

// ignoreExpected accepts every Put, like a server without compare-and-set.
func ignoreExpected(b *broken) {
	b.put = func(ctx context.Context, k string, v []byte, _ msha.Revision) (msha.Revision, error) {
		for {
			d, _ := b.Store.Get(ctx, k)
			if r, err := b.Store.Put(ctx, k, v, d.Revision); !errors.Is(err, msha.ErrConflict) {
				return r, err
			}
		}
	}
}

// unsafe is a store that knows what it cannot do.
type unsafe struct{ *broken }

func (unsafe) Safe() error {
	return msha.Errorf("metastore.probe", "", "", "%w: a wrong revision was accepted", msha.ErrUnsafe)
}

func TestAnUnsafeStoreThatSaysSoPasses(t *testing.T) {
	t.Parallel()
	open := func(wrap func(*broken) msha.MetaStore) func() Harness {
		return func() Harness {
			b := &broken{Store: memory.New()}
			ignoreExpected(b)
			return Harness{Store: wrap(b), Unsafe: true}
		}
	}
	require.Empty(t, failing("", 0, open(func(b *broken) msha.MetaStore { return unsafe{b} })))
	found(t, "safety", open(func(b *broken) msha.MetaStore { return b }))
}

func TestPlantedDefectsAreFound(t *testing.T) {
	t.Parallel()
	for name, defect := range map[string]struct {
		area  string // that has to find it, among others
		plant func(b *broken)
	}{
		"compare-and-set is ignored": {"compare-and-set", ignoreExpected},
		"two processes get one lease": {"lease", func(b *broken) { // compares, then acts
			b.put = func(ctx context.Context, k string, v []byte, expect msha.Revision) (msha.Revision, error) {
				if d, _ := b.Store.Get(ctx, k); d.Revision != expect {
					return b.Store.Put(ctx, k, v, expect)
				}
				time.Sleep(time.Millisecond)
				d, _ := b.Store.Get(ctx, k)
				return b.Store.Put(ctx, k, v, d.Revision)
			}
		}},
		"a watch loses its newest event": {"watch", func(b *broken) {
			b.watch = rewatch(b, func(out []msha.Document) []msha.Document {
				if n := len(out); n > 1 && string(out[n-1].Value) == "59" {
					return nil
				}
				return out[len(out)-1:]
			})
		}},
		"a watch goes back in time": {"watch", func(b *broken) {
			b.watch = rewatch(b, func(out []msha.Document) []msha.Document {
				if n := len(out); n > 2 && out[n-2].Revision > 0 {
					return []msha.Document{out[n-1], out[n-2]}
				}
				return out[len(out)-1:]
			})
		}},
		"a delete resets the revision": {"documents", resetOnDelete},
		"own reads are stale":          {"documents", staleReads},
		"a context's error is wrapped": {"contexts", func(b *broken) {
			b.get = func(ctx context.Context, k string) (msha.Document, error) {
				d, err := b.Store.Get(ctx, k)
				if ctx.Err() != nil {
					err = fmt.Errorf("get %s: %w", k, err)
				}
				return d, err
			}
		}},
		"names are confused": {"names", func(b *broken) {
			fold := func(k string) string { return strings.ReplaceAll(k, "/", ".") }
			b.get = func(ctx context.Context, k string) (msha.Document, error) { return b.Store.Get(ctx, fold(k)) }
			b.put = func(ctx context.Context, k string, v []byte, r msha.Revision) (msha.Revision, error) {
				return b.Store.Put(ctx, fold(k), v, r)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found(t, defect.area, func() Harness {
				b := &broken{Store: memory.New()}
				defect.plant(b)
				return Harness{Store: b}
			})
		})
	}
}

func staleReads(b *broken) {
	var mu sync.Mutex
	before := map[string]msha.Document{}
	b.put = func(ctx context.Context, k string, v []byte, r msha.Revision) (msha.Revision, error) {
		old, _ := b.Store.Get(ctx, k)
		mu.Lock()
		before[k] = old
		mu.Unlock()
		return b.Store.Put(ctx, k, v, r)
	}
	b.get = func(ctx context.Context, k string) (msha.Document, error) {
		mu.Lock()
		old, stale := before[k]
		delete(before, k)
		mu.Unlock()
		if stale && old.Revision != 0 {
			return old, nil
		}
		return b.Store.Get(ctx, k)
	}
}

func TestAllowedStaleReadsPass(t *testing.T) {
	t.Parallel()
	require.Empty(t, failing("", 0, func() Harness {
		b := &broken{Store: memory.New()}
		var mu sync.Mutex
		reads := 0
		b.get = func(ctx context.Context, k string) (msha.Document, error) {
			mu.Lock()
			reads++
			stale := reads%2 == 1
			mu.Unlock()
			d, err := b.Store.Get(ctx, k)
			if err == nil && stale && d.Revision > 1 && ctx.Err() == nil {
				d.Revision--
				d.Value = append([]byte{}, d.Value...)
			}
			return d, err
		}
		return Harness{Store: b, StaleReads: true}
	}))
}
