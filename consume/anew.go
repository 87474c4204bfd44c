package consume

import (
	"context"
	"slices"
)

// logLost reads a log that has lost its tail from its beginning: to apply a record again changes nothing. If it is one of the unit's own, the
// process begins anew: what it believes is not what others read. It ends what runs, writes again what it knows, gives its queues back and reads the
// logs as another process would. The lock is held.
func (e *Engine) logLost(l *logReader) {
	e.cfg.Logger.Error("fact log lost its tail: facts that were acknowledged are gone, it is read anew", "log", l.queue.String(), "read", l.next)
	l.next, l.last = 0, nil
	if !l.own {
		return
	}
	broker := l.queue.Broker
	e.tracker.Remember(broker)
	delete(e.acked, broker) // see acknowledgeReturned
	for q, h := range e.queues {
		if q.Topic == e.retry && q.Broker == broker {
			h.unsaid = true
		}
	}
	e.poke(e.notify)
	if e.anew || e.state != stateStarted {
		return
	}
	e.anew = true
	for _, h := range e.queues {
		e.giveUp(h)
	}
	e.wg.Go(e.beginAnew)
}

// beginAnew waits until the queues are given back, at brokers that do not answer until nothing runs of them any more, and forgets what was read.
func (e *Engine) beginAnew() {
	ctx, cancel := context.WithTimeout(e.ctx, releaseTimeout)
	defer cancel()
	released := func() bool { return len(e.queues) == 0 }
	if e.await(ctx, released) != nil && e.await(e.ctx, e.atRest) != nil {
		return
	}
	e.mu.Lock()
	unwritten := e.tracker.Publish()
	e.tracker = e.tracker.Anew()
	for _, part := range unwritten {
		e.tracker.Restore(part)
	}
	var brokers []string
	for _, l := range e.logs {
		l.next, l.last = 0, nil
		l.cancel()
		if l.own {
			brokers = append(brokers, l.queue.Broker)
		}
	}
	e.anew = false
	e.begun++
	e.tracker.SetTable(e.table)
	e.poke(e.notify)
	e.broadcast()
	e.mu.Unlock()
	e.cfg.Logger.Info("begun anew after the loss of facts: queues are taken again")
	slices.Sort(brokers)
	for _, broker := range brokers {
		e.endUnsent(broker)
	}
}

// atRest tells whether nothing runs or is read of the queues there are. The lock is held.
func (e *Engine) atRest() bool {
	for _, h := range e.queues {
		if h.running > 0 || !h.dropped {
			return false
		}
		select {
		case <-h.done:
		default:
			return false
		}
	}
	return true
}

// endUnsent ends Opens of this process that nothing will send or end any more, because the log of a broker that was away has lost them, or what
// followed them.
func (e *Engine) endUnsent(broker string) {
	e.mu.Lock()
	waited := e.tracker.Waiting()
	e.mu.Unlock()
	for backoff := retryInterval; ; backoff = min(2*backoff, lastBackoff) {
		err := e.readLog(e.ctx, broker)
		if err == nil {
			break
		}
		if e.ctx.Err() != nil {
			return
		}
		pause(e.ctx, backoff)
	}
	e.mu.Lock()
	unsent := e.tracker.Unsent(broker, waited)
	e.mu.Unlock()
	if len(unsent) > 0 {
		e.cfg.Logger.Warn("retries were announced in a fact log that has lost them: their messages stay with their unit", "broker", broker, "messages", len(unsent))
		_ = e.insist(e.ctx, broker, unsent...) // it ends with the engine only
	}
}
