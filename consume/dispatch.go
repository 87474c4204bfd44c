package consume

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha/filter"
)

type termKey struct{}

// Term is the fencing token of a handler's context: the route set of the message and the term it was started under. A write that is
// conditional on the highest term seen for the set is safe even from a process that froze after the check.
func Term(ctx context.Context) (set string, term uint64, ok bool) {
	k, ok := ctx.Value(termKey{}).(filter.Key)
	return k.Set, k.Term, ok
}

func splitTags(expression string) []string {
	var out []string
	for part := range strings.SplitSeq(expression, "||") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// work runs handlers until the engine ends.
func (e *Engine) work() {
	for {
		var batch []*item
		err := e.await(e.ctx, func() bool {
			batch = e.take()
			return len(batch) > 0
		})
		if err != nil {
			return
		}
		e.handle(batch)
	}
}

// take decides about ready messages in order until it has a batch to run; the lock is held.
func (e *Engine) take() []*item {
	var batch, kept []*item
	for i, it := range e.ready {
		if len(batch) == e.set.batch || e.state != stateStarted || e.suspended {
			if len(kept) == 0 {
				e.ready = e.ready[i:]
				return batch
			}
			kept = append(kept, e.ready[i:]...)
			break
		}
		switch {
		case len(batch) > 0 && batch[0].sub != it.sub:
			kept = append(kept, it)
		case it.h.dropped:
			it.h.waiting--
		case !e.mayStart(it.h):
			kept = append(kept, it)
		default:
			batch = append(batch, e.decide(it)...)
		}
	}
	e.ready = kept
	return batch
}

// mayStart is the gate: the queue's lock is trusted and this client was seen at a broker within G.
func (e *Engine) mayStart(h *held) bool {
	now := time.Now()
	return now.Before(h.trustUntil) && now.Sub(e.lastSeen) < e.cfg.GateWindow
}

// decide asks the tracker; it returns the item if it may run.
func (e *Engine) decide(it *item) []*item {
	d := e.tracker.Start(it.meta)
	switch d.Verdict {
	case filter.Run:
		it.key = d.Key
		it.h.waiting--
		it.h.running++
		e.running++
		return []*item{it}
	case filter.Wait:
		e.parked = append(e.parked, it)
	case filter.Skip:
		it.h.waiting--
		if d.Reason == "no route" {
			e.cfg.Logger.Error("no rule covers the routing value: message not processed by any unit", "value", it.meta.Value, "id", it.msg.MsgId)
		}
		e.tracker.Skipped(it.meta)
		e.acknowledged(it)
	case filter.Refuse:
		it.h.waiting--
		it.h.running++
		e.wg.Go(func() { e.refuse(it, d.Close) })
	}
	return nil
}

// refuse writes Close before the retry copy is acknowledged: whoever holds the message's queue reads it and re-scans.
func (e *Engine) refuse(it *item, r filter.Record) {
	err := e.insist(e.ctx, it.h.queue.Broker, r)
	e.mu.Lock()
	defer e.mu.Unlock()
	it.h.running--
	if err == nil {
		e.tracker.Apply(it.h.queue.Broker, r)
		e.acknowledged(it)
	}
	e.broadcast()
	e.poke(e.scan)
}

// acknowledged takes a message out of its local queue's order; the lock is held.
func (e *Engine) acknowledged(it *item) {
	if it.rescan {
		if e.rescans--; e.rescans == 0 {
			e.poke(e.soon) // a switch may be waiting to see how far the take-over is
		}
	} else {
		it.h.acknowledge(it.raw.QueueOffset)
	}
}

// handle runs the handler and records the outcome of each message.
func (e *Engine) handle(batch []*item) {
	first := batch[0]
	ctx := e.cfg.WithValue(e.ctx, first.meta.Value)
	ctx = context.WithValue(ctx, termKey{}, first.key)
	cctx := primitive.NewConsumeConcurrentlyContext()
	cctx.MQ = *first.msg.Queue
	ctx = primitive.WithConcurrentlyCtx(ctx, cctx)
	msgs := make([]*primitive.MessageExt, len(batch))
	for i, it := range batch {
		msgs[i] = it.msg
	}
	ok := e.call(ctx, first.sub.handler, msgs)
	for _, it := range batch {
		if ok {
			e.finish(it)
		} else {
			e.fail(it, cctx.DelayLevelWhenNextConsume)
		}
	}
}

func (e *Engine) call(ctx context.Context, h Handler, msgs []*primitive.MessageExt) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			e.cfg.Logger.Error("handler panicked: counts as a failure", "panic", fmt.Sprint(p), "id", msgs[0].MsgId, "stack", string(debug.Stack()))
			ok = false
		}
	}()
	result, err := h(ctx, msgs...)
	return err == nil && result == consumer.ConsumeSuccess
}

// finish records a processed message. For a retry copy Done is in the log before the copy is acknowledged: the agent that holds the
// message's own queue would otherwise find neither Open nor Done.
func (e *Engine) finish(it *item) {
	if it.meta.Retry != "" {
		if err := e.publishDone(e.ctx, it.h.queue.Broker, it.key, it.meta); err != nil {
			e.abandon(it)
			return
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tracker.Finish(it.meta, it.key, it.h.queue.Broker)
	e.leave(it)
}

// leave ends a started message's stay; the lock is held.
func (e *Engine) leave(it *item) {
	e.acknowledged(it)
	it.h.running--
	e.running--
	e.broadcast()
}

// abandon gives up on a message because the engine ends: nothing is recorded, so the next holder runs it again.
func (e *Engine) abandon(it *item) {
	e.mu.Lock()
	defer e.mu.Unlock()
	it.h.running--
	e.running--
	e.broadcast()
}
