package consume

import (
	"context"
	"errors"
	"math"
	"sort"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// seekCopy searches a replica queue, whose copies are in the order of their origin. What has no origin is passed over.
func (e *Engine) seekCopy(h *held, q msha.OriginQueue, low, origin int64) (at, first int64, err error) {
	high, err := e.cfg.Cluster.MaxOffset(h.ctx, h.queue)
	if err != nil || high <= low {
		return low, 0, err
	}
	goal := msha.Origin{OriginQueue: q, Offset: origin}
	o, low, ok, err := e.copyFrom(h.ctx, h.queue, low, high)
	switch {
	case err != nil || !ok:
		return low, 0, err
	case o.Incarnation > q.Incarnation:
		return low, math.MaxInt64, nil
	case o.Compare(goal) >= 0:
		return low, o.Offset, nil
	}
	for first := o; ; {
		if at, err = e.searchCopy(h, low, high, goal); err != nil {
			return low, 0, err
		}
		if o, at, ok, err = e.copyFrom(h.ctx, h.queue, at, high); err != nil {
			return low, 0, err
		}
		if ok {
			if o.Compare(goal) != 0 {
				return low, 0, nil // a batch that a replaced replicator had on its way is out of order: look at everything
			}
			if o.Incarnation == first.Incarnation && at-low == o.Offset-first.Offset {
				return at, 0, nil // one copy of each message before it
			}
		}
		// From a copy that was stored a second time on, what lies between the two would seem to be missing.
		top, earlier, ok, err := e.highest(h.ctx, h.queue, low, at)
		if err != nil || !ok || top.Compare(goal) < 0 {
			return at, 0, err
		}
		high = earlier + 1
	}
}

// searchCopy finds where in [low, high) the copies reach an origin; high if they do not.
func (e *Engine) searchCopy(h *held, low, high int64, goal msha.Origin) (at int64, err error) {
	n := sort.Search(int(high-low), func(i int) bool {
		if err != nil {
			return true
		}
		o, _, ok, ferr := e.copyFrom(h.ctx, h.queue, low+int64(i), high)
		err = ferr
		return err != nil || !ok || o.Compare(goal) >= 0
	})
	return low + int64(n), err
}

// repeatedMost bounds what a killed replicator may have stored a second time: the largest batch that brokers accept.
const (
	repeatedMost = 4 << 20
	leastSize    = 100 // of a copy without its body
)

// highest is the copy with the highest origin among those in [from, to), and where it is. That need not be the last one: a batch may have been
// stored twice.
func (e *Engine) highest(ctx context.Context, q remoting.Queue, from, to int64) (last msha.Origin, where int64, ok bool, err error) {
	const step = 256
	for size := 0; from < to && size < repeatedMost; to = max(from, to-step) {
		for at := max(from, to-step); at < to; {
			res, err := e.cfg.Cluster.Pull(ctx, remoting.PullRequest{Queue: q, Group: readerGroup, Offset: at, Max: int(to - at)})
			if err != nil {
				return last, 0, false, err
			}
			if res.NextOffset <= at {
				return last, 0, false, msha.Errorf("consume.read", q.String(), "", "message at offset %d %w", at, msha.ErrNotFound)
			}
			for _, m := range res.Messages {
				o, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
				if size += len(m.Body) + leastSize; err == nil && (!ok || o.Compare(last) > 0) {
					last, where, ok = o, m.QueueOffset, true
				}
			}
			at = res.NextOffset
		}
	}
	return last, where, ok, nil
}

// copyBelow is the origin of the last copy in [low, high) that has one.
func (e *Engine) copyBelow(ctx context.Context, q remoting.Queue, low, high int64) (o msha.Origin, ok bool, err error) {
	for at := high - 1; at >= low; at-- {
		if o, err = e.originOf(ctx, q, at); err == nil || !errors.Is(err, msha.ErrInvalid) {
			return o, err == nil, err
		}
	}
	return o, false, nil
}

// copyFrom is the origin of the first copy in [low, high) that has one, and where it is: at high if none has.
func (e *Engine) copyFrom(ctx context.Context, q remoting.Queue, low, high int64) (o msha.Origin, at int64, ok bool, err error) {
	for at = low; at < high; at++ {
		if o, err = e.originOf(ctx, q, at); err == nil || !errors.Is(err, msha.ErrInvalid) {
			return o, at, err == nil, err
		}
	}
	return o, at, false, nil
}

// originOf reads the identity of one copy.
func (e *Engine) originOf(ctx context.Context, q remoting.Queue, offset int64) (msha.Origin, error) {
	res, err := e.cfg.Cluster.Pull(ctx, remoting.PullRequest{Queue: q, Group: readerGroup, Offset: offset, Max: 1})
	if err != nil {
		return msha.Origin{}, err
	}
	if len(res.Messages) == 0 || res.Messages[0].QueueOffset != offset {
		return msha.Origin{}, msha.Errorf("consume.read", q.String(), "", "message at offset %d %w", offset, msha.ErrNotFound)
	}
	return msha.ParseOrigin(res.Messages[0].Properties[msha.PropertyOrigin])
}

// endOf is where an origin queue ends in the copies before a place, as far as it is there: all of an incarnation is, once there are copies of a later one.
func (e *Engine) endOf(h *held, q msha.OriginQueue, at int64) (end int64, err error) {
	low, err := e.cfg.Cluster.MinOffset(h.ctx, h.queue)
	if err != nil || at <= low {
		return 0, err
	}
	last, _, ok, err := e.highest(h.ctx, h.queue, low, at)
	switch {
	case err != nil || !ok || last.Incarnation < q.Incarnation:
		return 0, err
	case last.Incarnation > q.Incarnation:
		return math.MaxInt64, nil
	}
	return last.Offset + 1, nil
}
