package consume

import (
	"context"
	"slices"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// client-go's limits of the pause of an ordered queue after a failure.
const (
	suspendLeast = 10 * time.Millisecond
	suspendMost  = 30 * time.Second
)

// ordered tells whether a queue's messages run one after the other. Retry copies, of the time before the group was ordered, do not.
func (e *Engine) ordered(h *held) bool { return e.set.orderly && h.home != "" }

// insert keeps the messages in the order in which they were stored at their origin.
func (h *held) insert(it *item) {
	n := len(h.ready)
	if n > 0 && h.ready[n-1].meta.Origin.Compare(it.meta.Origin) > 0 {
		n, _ = slices.BinarySearchFunc(h.ready, it, func(a, b *item) int { return a.meta.Origin.Compare(b.meta.Origin) })
	}
	h.ready = slices.Insert(h.ready, n, it)
}

// unsettle makes an ordered queue begin again with what has to be read again; the lock is held.
func (e *Engine) unsettle(h *held) {
	h.lane.Unsettle()
	if !e.ordered(h) {
		return
	}
	forget := func(it *item) bool {
		if it.h == h && it.rescan {
			e.tracker.Forget(it.meta)
			h.rescans--
		}
		return it.h == h && it.rescan
	}
	h.ready = slices.DeleteFunc(h.ready, forget)
	if n := len(e.parked); n > 0 {
		if e.parked = slices.DeleteFunc(slices.Clone(e.parked), forget); len(e.parked) < n {
			h.lane.Unstick()
		}
	}
	e.poke(h.scanRoom)
}

// needsScan tells whether the queue cannot go on before a re-scan ends: it waits for one, or for the next one.
func (e *Engine) needsScan(h *held) bool {
	return h.lane.Stale(h.scanning) || len(h.ready) > 0 && !h.ready[0].rescan
}

func (e *Engine) unsettleAll() {
	for _, h := range e.queues {
		e.unsettle(h)
	}
}

// takeOrdered decides about the lowest messages of a queue, unless one of it runs, waits, or has to be read again first.
func (e *Engine) takeOrdered(h *held) (batch []*item) {
	if e.cfg.Now().Before(h.resumeAt) {
		return nil
	}
	for len(h.ready) > 0 && len(batch) < e.set.batch {
		it := h.ready[0]
		if len(batch) == 0 && !h.lane.Free(it.rescan) || len(batch) > 0 && (!sameRoute(it, batch[0]) || it.rescan != batch[0].rescan) {
			break
		}
		h.ready = h.ready[1:]
		waiting := len(e.parked)
		if e.decide(it) {
			batch = append(batch, it)
		} else if len(e.parked) > waiting {
			h.lane.Stick()
			break
		}
	}
	for range batch {
		h.lane.Start()
	}
	return batch
}

// freeLane lets the next message of an ordered queue start; the lock is held.
func (e *Engine) freeLane(h *held) {
	if e.ordered(h) {
		h.lane.End()
		e.wakeUp(1)
	}
}

// handleOrdered runs the handler. What fails stays where it is, and everything behind it waits.
func (e *Engine) handleOrdered(ctx context.Context, batch []*item, msgs []*primitive.MessageExt) {
	octx := primitive.NewConsumeOrderlyContext()
	octx.MQ = *msgs[0].Queue
	result := e.call(primitive.WithOrderlyCtx(ctx, octx), batch[0].sub.handler, msgs)
	if result == consumer.ConsumeSuccess || result == consumer.Commit {
		for _, it := range batch {
			e.finish(it)
		}
		return
	}
	d := e.set.suspend
	if ms := octx.SuspendCurrentQueueTimeMillis; ms >= 0 {
		d = time.Duration(ms) * time.Millisecond
	}
	d = min(max(d, suspendLeast), suspendMost)
	for _, it := range batch {
		e.suspend(it, d)
	}
}

// suspend takes a failed message back into its queue, which waits. Whether it may start again is decided again: its route may move
// meanwhile. A message that has failed too often is dead-lettered.
func (e *Engine) suspend(it *item, d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := it.h
	e.stats.Failed++
	if e.set.maxAttempts >= 0 && it.raw.ReconsumeTimes >= e.set.maxAttempts {
		e.wg.Go(func() { e.deadLetter(it) })
		return
	}
	it.raw.ReconsumeTimes++
	e.tracker.Unstart(it.meta)
	h.running--
	h.lane.End()
	h.resumeAt = e.cfg.Now().Add(d)
	e.enqueue(it)
	time.AfterFunc(d, e.wakeAll)
	e.broadcast()
}
