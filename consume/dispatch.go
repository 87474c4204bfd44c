package consume

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

type termKey struct{}

// Term is the fencing token of a handler's context: the route set of the message and the term it was started under. A write that is
// conditional on the highest term seen for the message's routing value is safe even from a process that froze after the check. Not for the
// set: a value that moves away from others gets a set of its own, and goes on counting terms there.
func Term(ctx context.Context) (set string, term uint64, ok bool) {
	k, ok := ctx.Value(termKey{}).(filter.Key)
	return k.Set, k.Term, ok
}

// work runs handlers until the engine ends.
func (e *Engine) work() {
	for {
		if batch := e.next(); len(batch) > 0 {
			e.handle(batch)
			continue
		}
		select {
		case <-e.wake:
		case <-e.ctx.Done():
			return
		}
	}
}

// wakeUp lets up to n idle workers look for work. A worker looks until it finds nothing before it waits, and tokens are kept for those
// that are on their way to wait, so none sleeps while there is work.
func (e *Engine) wakeUp(n int) {
	for range min(n, cap(e.wake)) {
		e.poke(e.wake)
	}
}

func (e *Engine) wakeAll() { e.wakeUp(cap(e.wake)) }

// next decides about ready messages until it has a batch to run. The queues take turns.
func (e *Engine) next() []*item {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state != stateStarted || e.suspended {
		return nil
	}
	for range len(e.ring) {
		h := e.ring[0]
		e.ring = e.ring[1:]
		batch := e.takeFrom(h)
		if h.inRing = len(h.ready) > 0; h.inRing {
			e.ring = append(e.ring, h)
		}
		if len(batch) > 0 {
			return batch
		}
	}
	return nil
}

// takeFrom decides about one queue's messages in order until it has a batch. The messages of a batch share their route, because they
// share a handler's context.
func (e *Engine) takeFrom(h *held) (batch []*item) {
	if !e.mayStart(h) {
		return nil
	}
	if e.ordered(h) {
		return e.takeOrdered(h)
	}
	for len(h.ready) > 0 && len(batch) < e.set.batch {
		it := h.ready[0]
		if len(batch) > 0 && !sameRoute(it, batch[0]) {
			break
		}
		h.ready = h.ready[1:]
		if e.decide(it) {
			batch = append(batch, it)
		}
	}
	return batch
}

func sameRoute(a, b *item) bool {
	return a.topic == b.topic && a.meta.Value == b.meta.Value && a.meta.Unit == b.meta.Unit && a.meta.Legacy == b.meta.Legacy
}

// mayStart is the gate: the queue's lock is trusted, its broker has not been away since the facts were read, and this client was seen at a broker
// within G. In Strict mode the table was confirmed within G too.
func (e *Engine) mayStart(h *held) bool {
	now := e.cfg.Now()
	return !h.log.suspect && now.Before(h.trustUntil) && now.Sub(e.lastSeen) < e.cfg.GateWindow && (!e.cfg.Strict || now.Sub(e.confirmed) < e.cfg.GateWindow)
}

// decide asks the tracker; it reports whether the message is to run.
func (e *Engine) decide(it *item) bool {
	if it.h.home == "" && !e.subscribed(it) {
		return false
	}
	meta := it.meta
	meta.Fresh, meta.Unwanted = it.fresh, it.sub == nil
	d := e.tracker.Start(meta)
	switch d.Verdict {
	case filter.Run:
		it.key = d.Key
		it.h.running++
		e.stats.Started++
		if meta.Legacy {
			e.stats.Legacy++
		}
		return true
	case filter.Wait:
		e.park(it, d)
	case filter.Skip:
		e.stats.Skipped++
		if d.Reason == "no route" {
			e.stats.Unrouted++
			e.cfg.Logger.Error("no rule covers the routing value: message not processed by any unit", "value", meta.Value, "id", it.id())
		}
		e.tracker.Skipped(meta)
		e.acknowledged(it)
	case filter.Refuse:
		if meta.Unwanted {
			e.cfg.Logger.Warn("retry copy of a topic that is not subscribed given back: its message waits for a subscription", "topic", it.topic, "id", it.id())
		}
		e.stats.Refused++
		it.h.running++
		e.wg.Go(func() { e.refuse(it, *d.Close) })
	}
	return false
}

// subscribed finds a retry copy's subscription; the retry queue stays when a topic's subscription changes. It takes copies away that have none, and no facts
// that would bring their messages back: they must not keep those behind them waiting.
func (e *Engine) subscribed(it *item) bool {
	it.sub = e.subs[it.topic]
	switch {
	case it.topic == "":
		e.cfg.Logger.Error("message in the retry topic that says no topic ignored", "queue", it.h.queue.String(), "offset", it.raw.QueueOffset, "id", it.id())
		e.stats.Skipped++
		e.acknowledged(it)
		return false
	case it.sub == nil && it.meta.Legacy:
		it.h.running++
		e.wg.Go(func() { e.postpone(it) })
		return false
	}
	return true
}

// park puts a message aside until facts arrive. What is decided about a retry copy may rest on its Open not being in the log, so that
// the log is read to its end for it.
func (e *Engine) park(it *item, d filter.Decision) {
	if d.Reason == filter.InFlight {
		e.behind[it.meta.Origin] = append(e.behind[it.meta.Origin], it)
		return
	}
	e.parked = append(e.parked, it)
	if d.Reason == filter.MissingHandOver && !it.said {
		it.said = true
		e.cfg.Logger.Error("message waits: the unit's log does not hold what its route's term began with", "term", d.Key.String(), "id", it.id(), "error", msha.ErrMissingFacts)
	}
	if d.Reason == filter.NoBaseline && it.since.IsZero() {
		it.since = e.cfg.Now()
	}
	if it.meta.Retry != "" && !it.fresh && !it.asked {
		it.asked = true
		e.stale[it.h.queue.Broker] = append(e.stale[it.h.queue.Broker], it)
		e.poke(e.fresh)
	}
}

// unpark lets the workers look again at messages that had to wait for facts; the lock is held.
func (e *Engine) unpark() {
	parked := e.parked
	e.parked = nil
	for _, it := range parked {
		it.h.lane.Unstick()
		e.enqueue(it)
	}
	for o := range e.behind {
		e.unparkBehind(o)
	}
}

// unparkBehind looks again at retry copies that came while their message was still in flight here; the lock is held.
func (e *Engine) unparkBehind(o msha.Origin) {
	for _, it := range e.behind[o] {
		e.enqueue(it)
	}
	delete(e.behind, o)
}

// refuse writes Close before the retry copy is acknowledged: whoever holds the message's queue reads it and re-scans.
func (e *Engine) refuse(it *item, r filter.Record) {
	err := e.insist(e.ctx, it.h.queue.Broker, r)
	e.mu.Lock()
	defer e.mu.Unlock()
	it.h.running--
	if err == nil {
		e.acknowledged(it)
	}
	e.broadcast()
}

// acknowledged takes a message out of its local queue's order; the lock is held.
func (e *Engine) acknowledged(it *item) {
	if !it.rescan {
		it.h.window.Acknowledge(it.raw.QueueOffset)
		e.poke(it.h.room)
		return
	}
	if it.h.rescans--; it.h.rescans == 0 {
		e.publishSoon() // a switch may be waiting to see how far the take-over is
	}
	e.poke(it.h.scanRoom)
}

// handle runs the handler and records the outcome of each message.
func (e *Engine) handle(batch []*item) {
	first := batch[0]
	ctx := e.cfg.WithValue(e.ctx, first.meta.Value)
	ctx = context.WithValue(ctx, termKey{}, first.key)
	msgs := make([]*primitive.MessageExt, len(batch))
	for i, it := range batch {
		msgs[i] = present(it.raw, it.topic, it.h.queue)
	}
	if e.ordered(first.h) {
		e.handleOrdered(ctx, batch, msgs)
		return
	}
	cctx := primitive.NewConsumeConcurrentlyContext()
	cctx.MQ = *msgs[0].Queue
	ctx = primitive.WithConcurrentlyCtx(ctx, cctx)
	result := e.call(ctx, first.sub.handler, msgs)
	ok := result == consumer.ConsumeSuccess || e.set.orderly && result == consumer.Commit
	for _, it := range batch {
		switch {
		case !ok:
			e.wg.Go(func() { e.fail(it, cctx.DelayLevelWhenNextConsume) })
		case it.meta.Retry != "":
			e.wg.Go(func() { e.finishRetry(it) })
		default:
			e.finish(it)
		}
	}
}

// call runs a handler; an error or a panic counts as a failure.
func (e *Engine) call(ctx context.Context, h Handler, msgs []*primitive.MessageExt) (result consumer.ConsumeResult) {
	defer func() {
		if p := recover(); p != nil {
			e.cfg.Logger.Error("handler panicked: counts as a failure", "panic", fmt.Sprint(p), "id", msgs[0].MsgId, "stack", string(debug.Stack()))
			result = consumer.ConsumeRetryLater
		}
	}()
	result, err := h(ctx, msgs...)
	if err != nil {
		return consumer.ConsumeRetryLater
	}
	return result
}

// finish records a message that was processed or dead-lettered.
func (e *Engine) finish(it *item) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if it.dead {
		e.stats.DeadLettered++
	} else {
		e.stats.Succeeded++
	}
	e.tracker.Finish(it.meta, it.key, it.h.queue.Broker)
	e.leave(it)
}

// finishRetry has Done in the log before the copy is acknowledged: the agent that holds the message's own queue would otherwise find
// neither Open nor Done.
func (e *Engine) finishRetry(it *item) {
	if err := e.publishDone(e.ctx, it); err != nil {
		e.abandon(it)
		return
	}
	e.finish(it)
}

// leave ends a started message's stay; the lock is held.
func (e *Engine) leave(it *item) {
	e.acknowledged(it)
	it.h.running--
	e.freeLane(it.h)
	e.unparkBehind(it.meta.Origin)
	e.broadcast()
}

// abandon gives up on a message because the engine ends: nothing is recorded, so the next holder runs it again.
func (e *Engine) abandon(it *item) {
	e.mu.Lock()
	defer e.mu.Unlock()
	it.h.running--
	e.broadcast()
}
