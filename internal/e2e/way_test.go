package e2e

import (
	"context"
	"sync"

	"github.com/go-msha/msha"
)

// way is a process's way to the metastore, which can be cut for it alone.
type way struct {
	mu   sync.Mutex
	open chan struct{} // closed while there is one; nil: there always was
}

func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = make(chan struct{})
}

func (w *way) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.open)
}

func (w *way) isOpen() (bool, chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		return true, nil
	}
	select {
	case <-w.open:
		return true, nil
	default:
		return false, w.open
	}
}

// to is the store at the end of the way.
func (w *way) to(store msha.MetaStore) msha.MetaStore { return &distant{store, w} }

type distant struct {
	msha.MetaStore
	way *way
}

func (d *distant) Get(ctx context.Context, key string) (msha.Document, error) {
	if open, _ := d.way.isOpen(); !open {
		return msha.Document{}, errOutOfReach
	}
	return d.MetaStore.Get(ctx, key)
}

func (d *distant) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	if open, _ := d.way.isOpen(); !open {
		return msha.Document{}, errOutOfReach
	}
	return msha.GetFresh(ctx, d.MetaStore, key)
}

func (d *distant) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if open, _ := d.way.isOpen(); !open {
		return 0, errOutOfReach
	}
	return d.MetaStore.Put(ctx, key, value, expect)
}

// Watch delivers what changes while the way is cut once it is open again.
func (d *distant) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	in, err := d.MetaStore.Watch(ctx, key)
	if err != nil {
		return nil, err
	}
	out := make(chan msha.Document)
	go func() {
		defer close(out)
		for doc := range in {
			if open, healed := d.way.isOpen(); !open {
				select {
				case <-healed:
				case <-ctx.Done():
					return
				}
			}
			select {
			case out <- doc:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
