package consume

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// unlockForDead gives locks back in the name of holders that no broker lists, and returns their queues. A broker would keep the lock of a process
// that was killed for a minute.
//
// The holder may be alive all the same, with its connections broken for a moment. Then it loses the lock with its next renewal, drains and
// releases; until it has noticed, it relies on the lock for a while, which awaitRelease waits out:
//  1. A renews its lock, and loses its connections.
//  2. B sees that nobody lists A, unlocks in A's name and locks the queue itself. From here on each renewal of A is refused.
//  3. A's last renewal was before that, so it starts nothing once its trust has passed since then. B waits longer than that.
//  4. A that is listed again may still finish what it has started: B waits for its Release.
func (e *Engine) unlockForDead(ctx context.Context, got map[remoting.Queue]bool) (freed []remoting.Queue) {
	byHolder := map[string][]remoting.Queue{}
	e.mu.Lock()
	for q, ok := range got {
		holder, unreleased := e.tracker.Facts().Holder(filter.LocalQueue{Topic: q.Topic, Broker: q.Broker, ID: q.ID})
		if !ok && unreleased && holder.Client != e.cfg.ClientID {
			byHolder[holder.Client] = append(byHolder[holder.Client], q)
		}
	}
	e.mu.Unlock()
	for holder, queues := range byHolder {
		if gone, err := e.isGone(ctx, holder); err != nil || !gone { // asked now: it may have come since the members were listed
			continue
		}
		err := e.perBroker(ctx, queues, func(ctx context.Context, addr string, qs []remoting.Queue) error {
			return e.cfg.Cluster.Unlock(ctx, addr, e.lockGroup(), holder, qs)
		})
		if err != nil { // the locks run out
			e.cfg.Logger.Warn("locks of a process that is gone not given back", "holder", holder, "queues", len(queues), "error", err)
			continue
		}
		freed = append(freed, queues...)
	}
	return freed
}

// awaitRelease waits for another process's Release if the log holds its Hold. This client's lock does not prove that the other one has ended:
// broker locks die with the broker, and may be given back for a process that is not listed. That its trust in the lock has passed since proves
// it, for what it starts; what it has started may still run, so as long as brokers list it, it is waited for.
func (e *Engine) awaitRelease(h *held) error {
	var other filter.Record
	released := func() bool {
		holder, unreleased := e.tracker.Facts().Holder(h.local)
		other = holder
		return !unreleased || holder.Writer == e.writer
	}
	e.mu.Lock()
	ok := released()
	e.mu.Unlock()
	if ok {
		return nil
	}
	e.cfg.Logger.Info("waiting for a holder that did not release the queue", "queue", h.queue.String(), "holder", other.Client)
	for wait := e.trustOfOthers(h); ; wait = e.cfg.Tick {
		ctx, cancel := context.WithTimeout(h.ctx, wait)
		err := e.await(ctx, released)
		cancel()
		if err == nil || h.ctx.Err() != nil {
			return err
		}
		gone, err := e.isGone(h.ctx, other.Client)
		if err != nil {
			return err
		}
		if gone {
			e.cfg.Logger.Warn("holder of the queue is gone without releasing it", "queue", h.queue.String(), "holder", other.Client)
			return e.readLog(h.ctx, h.queue.Broker)
		}
	}
}

// trustOfOthers is how long another process may still rely on a lock that it had when this one got it.
func (e *Engine) trustOfOthers(h *held) time.Duration {
	return max(0, e.limits.trust+e.limits.margin-e.cfg.Now().Sub(h.lockedAt))
}

// isGone tells that no broker lists a client. A broker that does not answer may.
func (e *Engine) isGone(ctx context.Context, client string) (bool, error) {
	addrs, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return false, err
	}
	m, err := e.listMembers(ctx, addrs, func(context.Context, string) error { return nil })
	switch {
	case slices.Contains(m.ids, client):
		return false, nil
	case err != nil:
		return false, err
	case len(addrs) == 0:
		return false, msha.Errorf("consume.members", "group "+e.set.group, "", "%w: no broker is registered", msha.ErrNotFound)
	}
	return true, nil
}

// releaseStrays writes a Release for queues that the log says this process holds and it does not: a Hold whose append was given up can be stored
// behind the Release that followed it, and would keep others waiting as long as this process lives.
func (e *Engine) releaseStrays(ctx context.Context) (all error) {
	byBroker := map[string][]filter.Record{}
	e.mu.Lock()
	if e.anew {
		e.mu.Unlock()
		return nil
	}
	for _, local := range e.tracker.Facts().HeldBy(e.writer) {
		if e.queues[remoting.Queue{Topic: local.Topic, Broker: local.Broker, ID: local.ID}] == nil {
			byBroker[local.Broker] = append(byBroker[local.Broker], filter.Record{Kind: filter.Release, Group: e.set.group, Client: e.cfg.ClientID, Writer: e.writer, Local: local})
		}
	}
	e.mu.Unlock()
	for broker, records := range byBroker {
		_, err := e.appendLog(ctx, broker, records...)
		all = errors.Join(all, err)
	}
	return all
}
