package sim

import (
	"github.com/go-msha/msha/filter"
)

// start runs the handler of a message that may run.
func (a *agent) start(it *item) {
	it.h.running++
	it.h.lane.Start()
	a.running++
	it.r = a.w.journal.started(a, it)
	a.after(a.w.mostly(2, 80, 0.03, 300, 4500), func() {
		ok := !a.w.chance(a.w.o.failure)
		dead := !ok && it.m.attempt+1 >= maxAttempts
		if dead {
			a.w.counts.DeadLetters++
		}
		a.w.journal.ended(a, it.r, ok || dead)
		if ok || dead {
			a.unpublished[it.m.origin] = it.key
			a.finish(it)
		} else if a.w.o.ordered {
			a.suspend(it)
		} else {
			a.fail(it)
		}
	})
}

// finish records a processed message. For a retry copy Done is in the log before the copy is acknowledged: once the copy is gone
// nothing else would ever end its Open.
func (a *agent) finish(it *item) {
	record := func() {
		a.t.Finish(it.meta, it.key, it.h.q.local.Broker)
		a.leave(it)
	}
	if it.m.number == "" {
		record()
		return
	}
	if a.w.mutation == DoneAfterAck {
		it.h.window.Acknowledge(it.offset)
		a.commit(it.h, it.h.committable(), record)
		return
	}
	done := filter.Record{Kind: filter.Done, Group: group, Set: it.key.Set, Term: it.key.Term, Queue: it.m.origin.OriginQueue,
		Spans: filter.Range(it.m.origin.Offset, it.m.origin.Offset+1)}
	a.insist(it.h.q.local.Broker, []filter.Record{done}, func(int64) { record() })
}

// leave ends a started message's stay.
func (a *agent) leave(it *item) {
	a.acknowledged(it)
	it.h.running--
	it.h.lane.End()
	a.running--
	a.broadcast()
}

// fail sends a message to its retry topic: Open into the log, the copy, Sent into the log; only then is the message acknowledged.
func (a *agent) fail(it *item) {
	broker := it.h.q.local.Broker
	attempt := it.m.attempt + 1
	open := a.t.Fail(it.meta, it.key, attempt, "", "")
	a.w.counts.Opens++
	a.insist(broker, []filter.Record{open}, func(int64) {
		a.sendRetry(it, open.Number, attempt, func(err error) {
			next := filter.SentOf(open)
			if err != nil && a.w.mutation != TrustSend { // it may be stored all the same; then its number is closed and it is refused
				next = filter.CloseOf(open)
			}
			a.insist(broker, []filter.Record{next}, func(int64) {
				if err != nil {
					a.trace("retry not sent", it.m.origin, open.Number)
				} else {
					a.trace("retry sent", it.m.origin, open.Number)
				}
				a.t.Failed(it.meta, it.key)
				a.leave(it)
				if err != nil {
					a.scan()
				}
			})
		})
	})
}

// sendRetry stores the delayed copy. It may fail, or be stored without an answer.
func (a *agent) sendRetry(it *item, number string, attempt int, then func(error)) {
	store := func() {
		m := stored{message: it.m.message, number: number, attempt: attempt}
		a.w.counts.Retries++
		a.w.after(a.w.between(100, 1500), func() { a.c.retry(it.h.q.local.Broker).append(m) })
	}
	lost := a.w.chance(0.06) || a.apart
	unknown := !lost && a.w.chance(0.08)
	if lost {
		a.after(a.w.between(100, 400), func() { then(errLost) })
		return
	}
	a.w.after(a.w.latency(), func() {
		store()
		if unknown {
			a.w.counts.StoredTimeouts++
			a.after(a.w.between(100, 400), func() { then(errLost) })
			return
		}
		a.after(a.w.latency(), func() { then(nil) })
	})
}
