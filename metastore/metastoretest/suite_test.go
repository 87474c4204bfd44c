package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a T that keeps failures.
type recorder struct {
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) FailNow()         { runtime.Goexit() }
func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// failing plays every case against a store and names those that failed, as area/rule.
func failing(open func() Harness) map[string]string {
	failed := map[string]string{}
	for _, c := range cases() {
		h := open()
		if c.applies != nil && !c.applies(h) {
			continue
		}
		h.Patience = 300 * time.Millisecond
		r, done := &recorder{}, make(chan struct{})
		go func() {
			defer close(done)
			play(r, c, h)
		}()
		<-done
		for _, f := range r.cleanups {
			f()
		}
		_ = h.Store.Close()
		if len(r.failures) > 0 {
			failed[c.area+"/"+c.rule] = strings.Join(r.failures, "\n")
		}
	}
	return failed
}

// broken is a correct store with methods replaced.
type broken struct {
	*memory.Store
	get   func(context.Context, string) (msha.Document, error)
	put   func(context.Context, string, []byte, msha.Revision) (msha.Revision, error)
	del   func(context.Context, string, msha.Revision) error
	watch func(context.Context, string) (<-chan msha.Document, error)
}

func (b *broken) Get(ctx context.Context, k string) (msha.Document, error) {
	if b.get != nil {
		return b.get(ctx, k)
	}
	return b.Store.Get(ctx, k)
}

func (b *broken) Put(ctx context.Context, k string, v []byte, r msha.Revision) (msha.Revision, error) {
	if b.put != nil {
		return b.put(ctx, k, v, r)
	}
	return b.Store.Put(ctx, k, v, r)
}

func (b *broken) Delete(ctx context.Context, k string, r msha.Revision) error {
	if b.del != nil {
		return b.del(ctx, k, r)
	}
	return b.Store.Delete(ctx, k, r)
}

func (b *broken) Watch(ctx context.Context, k string) (<-chan msha.Document, error) {
	if b.watch != nil {
		return b.watch(ctx, k)
	}
	return b.Store.Watch(ctx, k)
}

func TestACorrectStorePasses(t *testing.T) {
	require.Empty(t, failing(func() Harness {
		s := memory.New()
		return Harness{Store: s, Members: s, TooLarge: memory.MaxValue + 1}
	}))
}

func TestPlantedDefectsAreFound(t *testing.T) {
	for name, plant := range map[string]func(b *broken){
		"compare-and-set is ignored": func(b *broken) {
			b.put = func(ctx context.Context, k string, v []byte, _ msha.Revision) (msha.Revision, error) {
				for {
					d, _ := b.Store.Get(ctx, k)
					if r, err := b.Store.Put(ctx, k, v, d.Revision); !errors.Is(err, msha.ErrConflict) {
						return r, err
					}
				}
			}
		},
		"a watch loses its newest event": func(b *broken) {
			b.watch = rewatch(b, func(out []msha.Document) []msha.Document {
				if n := len(out); n > 1 && string(out[n-1].Value) == "59" {
					return nil
				}
				return out[len(out)-1:]
			})
		},
		"a watch goes back in time": func(b *broken) {
			b.watch = rewatch(b, func(out []msha.Document) []msha.Document {
				if n := len(out); n > 2 && out[n-2].Revision > 0 {
					return []msha.Document{out[n-1], out[n-2]}
				}
				return out[len(out)-1:]
			})
		},
		"a delete resets the revision": resetOnDelete,
		"own reads are stale": func(b *broken) {
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
		},
		"a context's error is wrapped": func(b *broken) {
			b.get = func(ctx context.Context, k string) (msha.Document, error) {
				d, err := b.Store.Get(ctx, k)
				if ctx.Err() != nil {
					err = fmt.Errorf("get %s: %w", k, err)
				}
				return d, err
			}
		},
		"names are confused": func(b *broken) {
			fold := func(k string) string { return strings.ReplaceAll(k, "/", ".") }
			b.get = func(ctx context.Context, k string) (msha.Document, error) { return b.Store.Get(ctx, fold(k)) }
			b.put = func(ctx context.Context, k string, v []byte, r msha.Revision) (msha.Revision, error) {
				return b.Store.Put(ctx, fold(k), v, r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			failed := failing(func() Harness {
				b := &broken{Store: memory.New()}
				plant(b)
				return Harness{Store: b}
			})
			require.NotEmpty(t, failed)
			t.Logf("found by %d cases", len(failed))
		})
	}
}

func TestAllowedStaleReadsPass(t *testing.T) {
	require.Empty(t, failing(func() Harness {
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

// rewatch delivers what edit makes of everything seen so far, the newest last.
func rewatch(b *broken, edit func([]msha.Document) []msha.Document) func(context.Context, string) (<-chan msha.Document, error) {
	return func(ctx context.Context, k string) (<-chan msha.Document, error) {
		in, err := b.Store.Watch(ctx, k)
		if err != nil {
			return nil, err
		}
		out := make(chan msha.Document)
		go func() {
			defer close(out)
			var seen []msha.Document
			for d := range in {
				seen = append(seen, d)
				for _, d := range edit(seen) {
					select {
					case out <- d:
					case <-ctx.Done():
						return
					}
				}
			}
		}()
		return out, nil
	}
}

// resetOnDelete gives revisions per document from 1, which begin again after a delete.
func resetOnDelete(b *broken) {
	var mu sync.Mutex
	base := map[string]msha.Revision{}
	b.get = func(ctx context.Context, k string) (msha.Document, error) {
		mu.Lock()
		defer mu.Unlock()
		d, err := b.Store.Get(ctx, k)
		d.Revision -= min(base[k], d.Revision)
		return d, err
	}
	b.put = func(ctx context.Context, k string, v []byte, r msha.Revision) (msha.Revision, error) {
		mu.Lock()
		defer mu.Unlock()
		if r != 0 {
			r += base[k]
		}
		got, err := b.Store.Put(ctx, k, v, r)
		if err != nil {
			return got, err
		}
		if r == 0 {
			base[k] = got - 1
		}
		return got - base[k], nil
	}
	b.del = func(ctx context.Context, k string, r msha.Revision) error {
		mu.Lock()
		defer mu.Unlock()
		return b.Store.Delete(ctx, k, r+base[k])
	}
}
