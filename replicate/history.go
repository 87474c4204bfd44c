package replicate

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// history is what is known of the incarnations of the origin's queues. Safe for concurrent use.
type history struct {
	store msha.MetaStore
	key   string

	mu    sync.Mutex
	in    *msha.Incarnations
	known bool
}

func newHistory(origin string, store msha.MetaStore) *history {
	return &history{store: store, key: msha.IncarnationsKey + "." + origin}
}

// now is the newest that is known.
func (h *history) now() *msha.Incarnations {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.in
}

// adopt takes over what was read; the document only grows, so an older one is told by its size.
func (h *history) adopt(in *msha.Incarnations) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = true
	if in.Count() > h.in.Count() {
		h.in = in
	}
}

// ready returns once the document was read: nothing may be copied before.
func (h *history) ready(ctx context.Context) error {
	h.mu.Lock()
	known := h.known
	h.mu.Unlock()
	if known {
		return nil
	}
	return h.refresh(ctx)
}

// refresh reads the document linearizably.
func (h *history) refresh(ctx context.Context) error {
	doc, err := msha.GetFresh(ctx, h.store, h.key)
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return err
	}
	in, err := msha.ParseIncarnations(doc)
	if err == nil {
		h.adopt(in)
	}
	return err
}

// follow adopts what other processes raise, until ctx ends.
func (h *history) follow(ctx context.Context, log *slog.Logger) {
	for ctx.Err() == nil {
		docs, err := h.store.Watch(ctx, h.key)
		if err == nil {
			for doc := range docs {
				in, err := msha.ParseIncarnations(doc)
				if err != nil {
					log.Error("incarnations cannot be read, keeping the known ones", "key", h.key, "error", err)
					continue
				}
				h.adopt(in)
			}
		}
		sleep(ctx, time.Second)
	}
}
