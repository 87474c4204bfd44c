package consume

import (
	"context"
	"errors"

	"github.com/go-msha/msha"
)

// errRaised begins the opening of a queue anew.
var errRaised = errors.New("a new incarnation of the queue was raised")

// incarnationsLoop follows what is known of the unit's queues until the engine ends. A queue with a new incarnation is given up and taken
// again: what was pulled under the old one may not be there any more, and what is there now was not pulled.
func (e *Engine) incarnationsLoop() {
	for {
		in, changed := e.cfg.Incarnations()
		e.mu.Lock()
		e.in = in
		for _, h := range e.queues {
			if h.open && e.raised(h) {
				e.cfg.Logger.Warn("queue has a new incarnation: it is taken again", "queue", h.queue.String(), "incarnation", in.Newest(e.homeOrigin(h.queue)))
				e.giveUp(h)
			}
		}
		e.mu.Unlock()
		select {
		case <-changed:
		case <-e.ctx.Done():
			return
		}
	}
}

// raised tells whether a held queue has got another incarnation; the lock is held.
func (e *Engine) raised(h *held) bool {
	q := e.homeOrigin(h.queue)
	return h.home != "" && h.unit == "" && h.in.Newest(q) != e.in.Newest(q)
}

// carry gives what a generation has done its new identities, if it has a new incarnation by now:
//
//	the broker loses its tail and stores other messages at offset 90 and above → this generation, which has read up to offset 80 only,
//	notices nothing and processes them → the replicator, which had copied up to offset 99, raises the incarnation
//
// A generation that has read what was lost does not find its last message there any more; what it did is done to messages of the old
// incarnation. What waits for a retry under its old identity is given up: the retry copy is refused, and the message read again under
// the new one.
func (e *Engine) carry(ctx context.Context, h *held) error {
	e.mu.Lock()
	raised := h.open && h.last != nil && e.raised(h)
	e.mu.Unlock()
	if !raised {
		return nil
	}
	if err := e.sameQueue(ctx, h); errors.Is(err, msha.ErrGap) {
		return nil
	} else if err != nil {
		return err
	}
	e.mu.Lock()
	closes := e.tracker.CarryOver(e.homeOrigin(h.queue), h.in, e.in, h.first, h.last.QueueOffset+1)
	e.mu.Unlock()
	if len(closes) == 0 {
		return nil
	}
	return e.insist(ctx, h.queue.Broker, closes...)
}
