package consume

import (
	"context"
	"errors"
	"slices"

	"github.com/apache/rocketmq-client-go/v2/consumer"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// baseline records where a group starts in a home queue the first time it is managed, and that it starts later incarnations at their
// beginning.
func (e *Engine) baseline(ctx context.Context, h *held, start int64) error {
	q := e.homeOrigin(h.queue)
	e.mu.Lock()
	if _, managed := e.tracker.Facts().Baseline(q); managed {
		start = 0 // all of a later incarnation was stored later
	}
	missing := slices.DeleteFunc(filter.Baselines(e.set.group, q, start, h.in), func(r filter.Record) bool {
		_, known := e.tracker.Facts().Baseline(r.Queue)
		return known
	})
	e.mu.Unlock()
	if len(missing) == 0 {
		return nil
	}
	end, err := e.appendLog(ctx, h.queue.Broker, missing...)
	if err != nil {
		return err
	}
	return e.readTo(ctx, map[string]int64{h.queue.Broker: end}) // the first one in the log counts
}

// startOffset is where the group goes on, and where somebody else wants it to, who has committed an offset beyond that; notAsked if nobody
// has.
func (e *Engine) startOffset(ctx context.Context, h *held) (start, wish int64, err error) {
	if h.home != "" && h.unit == "" {
		if err := e.begin(ctx, h.home, h.queue.Broker); err != nil {
			return 0, notAsked, err
		}
	}
	if e.beginsAnew(h) {
		start, err = e.cfg.Cluster.MinOffset(ctx, h.queue)
		return start, notAsked, err
	}
	committed, err := e.cfg.Cluster.CommittedOffset(ctx, e.set.group, h.queue)
	if errors.Is(err, msha.ErrNotFound) {
		start, err = e.firstOffset(ctx, h)
		return start, notAsked, err
	}
	if err == nil {
		start, err = e.withinQueue(ctx, h, committed)
	}
	if err != nil {
		return 0, notAsked, err
	}
	if h.home == "" && start == committed {
		start, err = e.saidOffset(ctx, h, committed)
		return start, notAsked, err
	}
	if _, foreign := e.foreign(h, committed); !foreign || start != committed {
		return start, notAsked, nil
	}
	// Facts precede commits, so the log has to be read behind this one: a holder that was passed over may have published just now.
	if err := e.readLog(ctx, h.queue.Broker); err != nil {
		return 0, notAsked, err
	}
	read, foreign := e.foreign(h, committed)
	if !foreign {
		return start, notAsked, nil
	}
	start, err = e.withinQueue(ctx, h, read)
	return start, committed, err
}

// beginsAnew tells whether a queue's broker lost its tail: what the group has committed in a retry queue says nothing any more then.
func (e *Engine) beginsAnew(h *held) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.left[h.queue].lost && h.home == ""
}

// saidOffset is up to where the copies of a retry queue are acknowledged, as far as the log says so. Its broker keeps offsets in a file of their own:
// one that has outlived the log's tail would pass over copies that have to be processed. What is read twice harms nobody, since numbers tell which
// copies are live.
func (e *Engine) saidOffset(ctx context.Context, h *held, committed int64) (int64, error) {
	said, known := e.said(h)
	if !known || committed > said {
		if err := e.readLog(ctx, h.queue.Broker); err != nil { // a holder that was passed over may have written it just now
			return 0, err
		}
		said, known = e.said(h)
	}
	if known && committed <= said {
		return committed, nil
	}
	e.cfg.Logger.Warn("the log has lost, or never had, what this offset rests on: retry copies are read again", "queue", h.queue.String(), "committed", committed, "said", said)
	if !known {
		return e.firstOffset(ctx, h)
	}
	return e.withinQueue(ctx, h, said)
}

func (e *Engine) said(h *held) (offset int64, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.readUpTo(h)
}

// firstOffset is where a group without committed offset begins: where its Baseline says, or the options. Queues that were added since it began with
// the topic begin at their start, and so do replica and retry queues.
func (e *Engine) firstOffset(ctx context.Context, h *held) (int64, error) {
	if h.home == "" || h.unit != "" {
		return e.cfg.Cluster.MinOffset(ctx, h.queue)
	}
	e.mu.Lock()
	base, known := e.tracker.Facts().Baseline(e.homeOrigin(h.queue))
	e.mu.Unlock()
	switch {
	case known:
		return e.withinQueue(ctx, h, base)
	case e.added(h):
		e.cfg.Logger.Info("queue was added since the group began with its topic: it is read from its first message", "queue", h.queue.String())
		return e.withinQueue(ctx, h, 0)
	}
	return e.optional(ctx, h)
}

// optional is where the options let a group begin in a queue.
func (e *Engine) optional(ctx context.Context, h *held) (int64, error) {
	switch e.set.from {
	case consumer.ConsumeFromFirstOffset:
		return e.cfg.Cluster.MinOffset(ctx, h.queue)
	case consumer.ConsumeFromTimestamp:
		at, err := e.set.startTime()
		if err != nil {
			return 0, err
		}
		return e.cfg.Cluster.OffsetByTime(ctx, h.queue, at)
	}
	return e.cfg.Cluster.MaxOffset(ctx, h.queue)
}

// withinQueue checks a committed offset against what the queue holds. Committed beyond the end means that the broker lost its tail or the
// topic was recreated: its offsets are being used again, and what is stored under them would be taken for done.
func (e *Engine) withinQueue(ctx context.Context, h *held, off int64) (int64, error) {
	low, err := e.cfg.Cluster.MinOffset(ctx, h.queue)
	if err != nil {
		return 0, err
	}
	high, err := e.cfg.Cluster.MaxOffset(ctx, h.queue)
	if err != nil {
		return 0, err
	}
	switch {
	case off <= high:
	case h.home == "": // numbers tell which copies are live
		return low, nil
	case h.unit != "", e.forgotten(h, high): // identities tell what is done
		return high, nil
	}
	if off > high {
		return 0, msha.Errorf("consume.start", h.queue.String(), hintLostTail,
			"%w: committed offset %d, the queue ends at %d", msha.ErrGap, off, high)
	}
	if off < low {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !e.rescanned(h) {
			e.expired(h, off, low)
		}
	}
	return max(off, low), nil
}

// forgotten tells whether an offset beyond the end of a home queue was committed before the newest incarnation: nothing of that was
// published beyond the end.
func (e *Engine) forgotten(h *held, high int64) bool {
	q := e.homeOrigin(h.queue)
	q.Incarnation = h.in.Newest(q)
	e.mu.Lock()
	defer e.mu.Unlock()
	return h.home != "" && h.unit == "" && q.Incarnation > 0 && e.tracker.Facts().Next(q) <= high
}

// rescanned tells whether a re-scan will find out what is gone below a queue's start: of a managed group the facts tell what was
// still to be processed. The lock is held.
func (e *Engine) rescanned(h *held) bool {
	_, managed := e.tracker.Facts().Baseline(e.homeOrigin(h.queue))
	return h.home != "" && (h.unit != "" || managed)
}

// originAt finds which origin offset a local position stands for.
func (e *Engine) originAt(ctx context.Context, h *held, start int64) (msha.OriginQueue, int64, error) {
	if h.home == "" {
		return msha.OriginQueue{}, 0, nil
	}
	if h.unit == "" {
		return e.homeOrigin(h.queue), start, nil
	}
	low, err := e.cfg.Cluster.MinOffset(ctx, h.queue)
	if err != nil || start <= low {
		return msha.OriginQueue{}, 0, err
	}
	o, ok, err := e.copyBelow(ctx, h.queue, low, start)
	if err != nil || !ok {
		return msha.OriginQueue{}, 0, err
	}
	return o.OriginQueue, o.Offset + 1, nil
}
