// Package history follows the document of a unit's incarnations for those who copy and consume its queues.
package history

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// History is what is known of the incarnations of one unit's queues. Safe for concurrent use.
type History struct {
	store msha.MetaStore
	key   string

	mu    sync.Mutex
	in    *msha.Incarnations
	known bool
	more  chan struct{} // closed and replaced when there are more
}

// New knows nothing yet.
func New(unit string, store msha.MetaStore) *History {
	return &History{store: store, key: msha.IncarnationsKey + "." + unit, more: make(chan struct{})}
}

// Now is the newest that is known.
func (h *History) Now() *msha.Incarnations {
	in, _ := h.Known()
	return in
}

// Known is Now, and a channel that is closed when more is known.
func (h *History) Known() (*msha.Incarnations, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.in, h.more
}

// adopt takes over what was read; the document only grows, so an older one is told by its size.
func (h *History) adopt(in *msha.Incarnations) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = true
	if in.Count() > h.in.Count() {
		h.in = in
		close(h.more)
		h.more = make(chan struct{})
	}
}

// Raise is msha.Raise; the result is known here at once.
func (h *History) Raise(ctx context.Context, from int64, seen msha.Origin, reason string) (in *msha.Incarnations, raised bool, err error) {
	in, raised, err = msha.Raise(ctx, h.store, from, seen, reason)
	if err == nil {
		h.adopt(in)
	}
	return in, raised, err
}

// Ready returns once the document was read linearizably.
func (h *History) Ready(ctx context.Context) error {
	h.mu.Lock()
	known := h.known
	h.mu.Unlock()
	if known {
		return nil
	}
	return h.Refresh(ctx)
}

// Refresh reads the document linearizably.
func (h *History) Refresh(ctx context.Context) error {
	return h.read(func() (msha.Document, error) { return msha.GetFresh(ctx, h.store, h.key) })
}

// Load reads the document, which may be a little out of date where the store's reads are.
func (h *History) Load(ctx context.Context) error {
	return h.read(func() (msha.Document, error) { return h.store.Get(ctx, h.key) })
}

func (h *History) read(get func() (msha.Document, error)) error {
	doc, err := get()
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return err
	}
	in, err := msha.ParseIncarnations(doc)
	if err == nil {
		h.adopt(in)
	}
	return err
}

// watchRetry is how long to wait before a watch that ended is begun again.
const watchRetry = time.Second

// Follow adopts what others raise, until ctx ends.
func (h *History) Follow(ctx context.Context, log *slog.Logger) {
	for ctx.Err() == nil {
		docs, err := h.store.Watch(ctx, h.key)
		if err == nil {
			for doc := range docs {
				in, err := msha.ParseIncarnations(doc)
				if err != nil {
					log.Error("incarnations cannot be used, keeping the known ones", "key", h.key, "error", err)
					continue
				}
				h.adopt(in)
			}
		}
		select {
		case <-time.After(watchRetry):
		case <-ctx.Done():
		}
	}
}
