package replicate

import (
	"context"
	"sync"
)

// holding is a share that this process copies, until it is stopped. Safe for concurrent use.
type holding struct {
	share
	turn   *turn
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{} // closed when the pipes have ended after stop

	mu       sync.Mutex
	pipes    sync.WaitGroup
	stopping bool
}

func newHolding(ctx context.Context, s share, t *turn) *holding {
	h := &holding{share: s, turn: t, ended: make(chan struct{})}
	h.ctx, h.cancel = context.WithCancel(ctx)
	return h
}

// start runs a pipe; not once the holding is stopped.
func (h *holding) start(run func(context.Context)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return false
	}
	h.pipes.Go(func() { run(h.ctx) })
	return true
}

// stop ends the pipes, which finish the batch in flight. It does not block; then, if any, is called when they have ended. Only the first
// call counts.
func (h *holding) stop(then func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return
	}
	h.stopping = true
	h.cancel()
	go func() {
		h.pipes.Wait()
		if then != nil {
			then()
		}
		close(h.ended)
	}()
}

// active reports whether pipes may be started.
func (h *holding) active() bool { return h.ctx.Err() == nil }

// drained reports whether the pipes have ended.
func (h *holding) drained() bool {
	select {
	case <-h.ended:
		return true
	default:
		return false
	}
}
