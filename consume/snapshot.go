package consume

import (
	"context"
	"time"

	"github.com/go-msha/msha/filter"
)

// snapshotLoop carries the group's facts forward in the logs until the engine ends, so that what retention removes from a log's beginning
// is not needed any more.
func (e *Engine) snapshotLoop() {
	tick := time.NewTicker(e.cfg.SnapshotEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			return
		}
		for broker, records := range e.snapshots() {
			e.wg.Go(func() { // a broker that is away keeps nobody waiting
				ctx, cancel := context.WithTimeout(e.ctx, e.cfg.SnapshotEvery)
				defer cancel()
				for _, r := range records { // a chunk is a body
					if e.insist(ctx, broker, r) != nil {
						return
					}
				}
			})
		}
	}
}

// snapshots has the snapshot of each log that is this client's to carry forward: the holder of a broker's retry queue does it for the
// group.
func (e *Engine) snapshots() map[string][]filter.Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	past := filter.Past(e.table)
	out := map[string][]filter.Record{}
	for q, h := range e.queues {
		if h.home != "" || !h.open || h.dropped || q.ID != 0 {
			continue
		}
		for _, l := range e.logs {
			if l.own && l.queue.Broker == q.Broker && l.next > 0 {
				out[q.Broker] = e.tracker.Facts().Snapshot(q.Broker, l.next-1, past)
			}
		}
	}
	return out
}
