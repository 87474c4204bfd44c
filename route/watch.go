package route

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/go-msha/msha"
)

// Options of Watch. The zero value is valid.
type Options struct {
	Logger *slog.Logger // nil: slog.Default()
}

// Watcher follows the table document. It implements msha.Router.
type Watcher struct {
	log    *slog.Logger
	table  atomic.Pointer[msha.Table]
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	value   []byte // the document of table
	changed chan struct{}
}

var _ msha.Router = (*Watcher)(nil)

// Watch returns once the first table is applied; ErrInvalid if the document does not parse, ErrNotFound if there is none. Afterwards a
// document that cannot be read is reported and the last good table stays; versions never go back. ctx ends the watch, as Close does.
func Watch(ctx context.Context, store msha.MetaStore, o *Options) (*Watcher, error) {
	w := &Watcher{log: slog.Default(), done: make(chan struct{}), changed: make(chan struct{})}
	if o != nil && o.Logger != nil {
		w.log = o.Logger
	}
	ctx, w.cancel = context.WithCancel(ctx)
	docs, err := store.Watch(ctx, msha.TableKey)
	if err != nil {
		w.cancel()
		return nil, err
	}
	first, ok := <-docs
	switch {
	case !ok:
		err = ctx.Err()
		if err == nil {
			err = msha.Errorf("route.watch", msha.TableKey, "", "metastore %w", msha.ErrClosed)
		}
	case first.Revision == 0:
		err = msha.Errorf("route.watch", msha.TableKey, "initialize the installation first", "document %w", msha.ErrNotFound)
	default:
		err = w.apply(first)
	}
	if err != nil {
		w.cancel()
		return nil, err
	}
	go func() {
		defer close(w.done)
		for doc := range docs {
			if doc.Revision == 0 {
				w.log.Error("routing table document is gone, keeping the last table", "key", msha.TableKey, "version", w.Table().Version)
				continue
			}
			if err := w.apply(doc); err != nil {
				w.log.Error("routing table document cannot be used, keeping the last table", "key", msha.TableKey, "version", w.Table().Version, "error", err)
			}
		}
	}()
	return w, nil
}

func (w *Watcher) apply(doc msha.Document) error {
	t, err := Parse(doc.Value)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.table.Load(); old != nil && t.Version <= old.Version {
		switch {
		case t.Version < old.Version:
			w.log.Error("routing table went back in time, keeping the newer one", "version", old.Version, "found", t.Version)
		case !bytes.Equal(doc.Value, w.value):
			w.log.Error("two routing tables of one version: the metastore lost accepted writes; keeping the first one, restart the process after repair", "version", t.Version)
		}
		return nil
	}
	w.value = doc.Value
	w.table.Store(t)
	close(w.changed)
	w.changed = make(chan struct{})
	w.log.Info(fmt.Sprintf("Changed MSHA metadata: key=%s, value=%s", msha.TableKey, formatRouters(t.Routers())))
	return nil
}

// Table returns the newest applied table.
func (w *Watcher) Table() *msha.Table { return w.table.Load() }

// Changed is closed once a version newer than the given one is applied.
func (w *Watcher) Changed(version uint64) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.Table().Version > version {
		ch := make(chan struct{})
		close(ch)
		return ch
	}
	return w.changed
}

// Close ends the watch and waits for it.
func (w *Watcher) Close() {
	w.cancel()
	<-w.done
}
