package metastoretest

import (
	"context"
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

// failing plays the cases of an area, or all, against a store of its own each, at once, and names those that failed, as area/rule.
func failing(area string, patience time.Duration, open func() Harness) map[string]string {
	var mu sync.Mutex
	var all sync.WaitGroup
	failed := map[string]string{}
	for _, c := range cases() {
		if area != "" && area != c.area {
			continue
		}
		h := open()
		if c.applies != nil && !c.applies(h) {
			_ = h.Store.Close()
			continue
		}
		h.Patience, h.Writes = patience, 60
		all.Go(func() {
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
			mu.Lock()
			defer mu.Unlock()
			if len(r.failures) > 0 {
				failed[c.area+"/"+c.rule] = strings.Join(r.failures, "\n")
			}
		})
	}
	all.Wait()
	return failed
}

// short is the patience with stores that are known to fail.
const short = 700 * time.Millisecond

// found checks that a case of the area fails.
func found(t *testing.T, area string, open func() Harness) {
	t.Helper()
	failed := failing(area, short, open)
	require.NotEmpty(t, failed, "not found by the cases about %s", area)
	for name := range failed {
		t.Logf("found by %d cases, %q among them", len(failed), name)
		break
	}
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
