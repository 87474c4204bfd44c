package consume

import (
	"context"
	"slices"
	"time"

	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// refusal is since when a broker has refused a queue's lock, over one connection.
type refusal struct {
	since time.Time
	gone  <-chan struct{} // closed when that connection ends: the broker may have begun anew, without its locks
}

func (r refusal) stands() bool {
	if r.gone == nil {
		return false
	}
	select {
	case <-r.gone:
		return false
	default:
		return true
	}
}

// connections are the ends of the connections to the queues' brokers.
func (e *Engine) connections(ctx context.Context, queues []remoting.Queue) map[string]<-chan struct{} {
	out, view := map[string]<-chan struct{}{}, e.cfg.Cluster.Pin()
	for _, q := range queues {
		if _, known := out[q.Broker]; !known {
			out[q.Broker], _ = view.Dropped(ctx, q.Broker) // without it nothing is known of the time before
		}
	}
	return out
}

// lockWait is how long another process's unreleased Hold must be waited out. A lock that was refused until it ran out, by a broker that ran all
// the time, has been waited out already.
func (e *Engine) lockWait(h *held) time.Duration {
	if h.refusedSince.IsZero() {
		return e.limits.lock
	}
	return max(0, e.limits.lock-e.cfg.Now().Sub(h.refusedSince))
}

// awaitRelease waits for another process's Release if the log holds its Hold. Broker locks die with the broker, so this client's lock
// does not prove that the other one has ended. That its own trust in the lock has run out does, for what it starts; what it has
// started may still run, so as long as brokers list it, it is waited for.
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
	for wait := e.lockWait(h); ; wait = brokerTimeout {
		ctx, cancel := context.WithTimeout(h.ctx, wait)
		err := e.await(ctx, released)
		cancel()
		if err == nil || h.ctx.Err() != nil {
			return err
		}
		ids, err := e.memberIDs(h.ctx)
		if err != nil {
			return err
		}
		if !slices.Contains(ids, other.Client) {
			e.cfg.Logger.Warn("holder of the queue is gone without releasing it", "queue", h.queue.String(), "holder", other.Client)
			return e.readLog(h.ctx, h.queue.Broker)
		}
	}
}
