package follow

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-msha/msha"
)

// Health is what a store knows about its server. It logs one line when the server is lost and one when it is back, however many
// subscriptions and heartbeats notice. Methods do not block and are safe for concurrent use.
type Health struct {
	backend, addr string
	log           *slog.Logger

	unsafe atomic.Pointer[error] // the first reason; it stays

	mu    sync.Mutex
	lost  map[string]bool // what does not work at present
	down  bool            // the loss was logged, the return was not
	since time.Time       // of the loss
}

// NewHealth describes a server that works. A nil logger stands for slog.Default().
func NewHealth(backend, addr string, log *slog.Logger) *Health {
	if log == nil {
		log = slog.Default()
	}
	return &Health{backend: backend, addr: addr, log: log, lost: map[string]bool{}}
}

// Lost says that something (a subscription, a heartbeat) does not work; a context's end is no loss.
func (h *Health) Lost(what string, err error) {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, msha.ErrClosed) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.down {
		h.down, h.since = true, time.Now()
		h.log.Warn("metastore lost: what was read last stays in force", "backend", h.backend, "addr", h.addr, "what", what, "error", err)
	}
	h.lost[what] = true
}

// Fine says that it works.
func (h *Health) Fine(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.lost, what)
	if h.down && len(h.lost) == 0 {
		h.down = false
		h.log.Info("metastore is back", "backend", h.backend, "addr", h.addr, "after", time.Since(h.since).Round(time.Millisecond))
	}
}

// Forget says that it is not wanted any more: that is no sign of the server.
func (h *Health) Forget(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.lost, what)
}

// MarkUnsafe records the first reason not to rely on the server.
func (h *Health) MarkUnsafe(resource, reason string) {
	err := msha.Errorf("metastore."+h.backend, resource, "tables are served, switching is refused", "%w: %s", msha.ErrUnsafe, reason)
	if h.unsafe.CompareAndSwap(nil, &err) {
		h.log.Error("metastore is unsafe", "backend", h.backend, "addr", h.addr, "error", err)
	}
}

// Safe implements msha.SafetyReporter. It does not wait for a logger either.
func (h *Health) Safe() error {
	if err := h.unsafe.Load(); err != nil {
		return *err
	}
	return nil
}
