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
			a.unpublished[it.meta.Origin] = processed{it.m.message, it.key}
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
	done := filter.Record{Kind: filter.Done, Group: group, Set: it.key.Set, Term: it.key.Term, Queue: it.meta.Origin.OriginQueue,
		Spans: filter.Range(it.meta.Origin.Offset, it.meta.Origin.Offset+1)}
	a.insist(it.h.q.local.Broker, []filter.Record{done}, func(int64) { record() })
}

// leave ends a started message's stay.
func (a *agent) leave(it *item) {
	a.acknowledged(it)
	it.h.running--
	it.h.lane.End()
	a.running--
	a.unpark() // a retry copy may have come meanwhile
	a.broadcast()
}

// fail sends a message to its retry topic: Open into the log, the copy, Sent into the log; only then is the message acknowledged.
func (a *agent) fail(it *item) {
	broker := it.h.q.local.Broker
	attempt := it.m.attempt + 1
	open := a.t.Fail(it.meta, it.key, attempt, "", "")
	a.w.counts.Opens++
	a.failing[it.m.message] = true
	failed := func(what string) func(int64) {
		return func(int64) {
			a.trace(what, it.meta.Origin, open.Number)
			delete(a.failing, it.m.message)
			a.t.Failed(it.meta, it.key)
			a.leave(it)
			a.scan()
		}
	}
	a.insist(broker, []filter.Record{open}, func(int64) {
		away := a.away
		a.sendRetry(it, open.Number, attempt, func(err error) {
			switch {
			case err != nil && a.w.mutation != TrustSend: // it may be stored all the same; then its number is closed and it is refused
				a.insist(broker, filter.NotSent(filter.CloseOf(open), it.m.number), failed("retry not sent"))
				return
			case a.away != away && a.w.mutation != SentAnyhow: // the broker may have lost the copy since
				a.insist(broker, filter.NotSent(filter.VoidOf(open), it.m.number), failed("retry in doubt"))
				return
			}
			a.write(broker, []filter.Record{filter.SentOf(open)}, func(_ int64, err error) {
				if err != nil && a.w.mutation == SentAnyhow {
					a.insist(broker, []filter.Record{filter.SentOf(open)}, failed("retry sent"))
					return
				}
				if err != nil { // if it is stored all the same, Void comes after it and says nothing
					a.insist(broker, filter.NotSent(filter.VoidOf(open), it.m.number), failed("retry in doubt"))
					return
				}
				failed("retry sent")(0)
			})
		})
	})
}

// sendRetry stores the delayed copy. It may fail, or be stored without an answer.
func (a *agent) sendRetry(it *item, number string, attempt int, then func(error)) {
	store := func() {
		a.w.counts.Retries++
		a.c.delay(it.h.q.local.Broker, stored{message: it.m.message, id: it.meta.Origin, number: number, attempt: attempt})
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
