package manager

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/replicate"
)

// layouts are what is known of which replica queue holds which origin queue. Entries never change, new ones are added.
type layouts struct {
	store msha.MetaStore
	mu    sync.Mutex
	known map[string][]replicate.Assigned
}

// between is the layout of the copies of one unit in another one; nothing if nothing was ever copied. It is read once, and again if that is asked for.
func (a *layouts) between(ctx context.Context, from, to string, anew bool) ([]replicate.Assigned, error) {
	key := msha.LayoutKey + "." + from + "." + to
	a.mu.Lock()
	queues, ok := a.known[key]
	a.mu.Unlock()
	if ok && !anew {
		return queues, nil
	}
	queues, err := readLayout(ctx, a.store, key)
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = map[string][]replicate.Assigned{}
	}
	a.known[key] = queues
	return queues, nil
}

func readLayout(ctx context.Context, store msha.MetaStore, key string) ([]replicate.Assigned, error) {
	doc, err := store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	var layout replicate.Layout
	if err := json.Unmarshal(doc.Value, &layout); err != nil {
		return nil, msha.Errorf("switch.layout", key, "repair the document", "%w: %w", msha.ErrInvalid, err)
	}
	return layout.Queues, nil
}

// copies are the replica queues of a unit, with the origin queues whose copies they hold.
func (c *clusters) copies(ctx context.Context, unit string, others []string, anew bool) (map[filter.LocalQueue]msha.OriginQueue, error) {
	out := map[filter.LocalQueue]msha.OriginQueue{}
	for _, other := range others {
		queues, err := c.layouts.between(ctx, other, unit, anew)
		if err != nil {
			return nil, err
		}
		for _, a := range queues {
			origin := msha.OriginQueue{Unit: other, Broker: a.Origin.Broker, Topic: a.Origin.Topic, Queue: a.Origin.ID}
			out[filter.LocalQueue{Topic: a.Target.Topic, Broker: a.Target.Broker, ID: a.Target.ID}] = origin
		}
	}
	return out, nil
}

// abandoned is what the holders had who were passed over: they did not acknowledge the fence and were gone, and what they had processed last they
// may not have published.
type abandoned struct {
	queues map[heldQueue]filter.LocalQueue
	opens  map[string]bool // groups of which a retry queue is among them
}

type heldQueue struct {
	group  string
	origin msha.OriginQueue // of the first incarnation
}

// retryQueues is more than brokers make for a retry topic: 1 unless they are told otherwise.
const retryQueues = 16

// abandonedIn reads from a unit's facts who holds its queues and has not acknowledged a version.
func (l *unitLog) abandonedIn(f *filter.Facts, acks map[string]uint64, version uint64, copies map[filter.LocalQueue]msha.OriginQueue) abandoned {
	out := abandoned{queues: map[heldQueue]filter.LocalQueue{}, opens: map[string]bool{}}
	for _, group := range f.Groups() {
		g := f.Group(group)
		silent := func(q filter.LocalQueue) bool {
			hold, held := g.Holder(q)
			return held && acks[hold.Client] < version
		}
		for _, q := range g.Queues() {
			if local := (filter.LocalQueue{Topic: q.Topic, Broker: q.Broker, ID: q.Queue}); q.Unit == l.unit && silent(local) {
				out.queues[heldQueue{group, q.First()}] = local
			}
		}
		for local, origin := range copies {
			if silent(local) {
				out.queues[heldQueue{group, origin.First()}] = local
			}
		}
		for _, broker := range l.brokers() {
			for id := range retryQueues {
				out.opens[group] = out.opens[group] || silent(filter.LocalQueue{Topic: "%RETRY%" + group, Broker: broker, ID: id})
			}
		}
	}
	return out
}

// repeated is how much of a hand-over may have been processed already by holders who were passed over, at most: whatever is left and was stored in
// the queues they held. How far they had read since they published last nobody knows.
func (a abandoned) repeated(ctx context.Context, l *unitLog, f *filter.Facts, table *msha.Table, records []filter.Record) (sum int64, err error) {
	ends := map[heldQueue]int64{}
	newest := map[heldQueue]int64{} // incarnation
	for _, r := range records {
		held := heldQueue{r.Group, r.Queue.First()}
		newest[held] = max(newest[held], r.Queue.Incarnation)
	}
	for _, r := range records {
		if r.Group == "" {
			continue
		}
		var may filter.Offsets
		held := heldQueue{r.Group, r.Queue.First()}
		if local, ok := a.queues[held]; ok {
			end := r.Next // nothing more is stored under the numbers of an older incarnation
			if r.Queue.Incarnation == newest[held] {
				if _, known := ends[held]; !known {
					if ends[held], err = l.storedEnd(ctx, local, held.origin); err != nil {
						return 0, err
					}
				}
				end = max(end, ends[held])
			}
			may = r.Spans.Below(end)
		}
		if a.opens[r.Group] {
			may = may.Union(r.Spans.Intersect(f.Group(r.Group).Opens(filter.KeyOf(table.Sets[r.Set]), r.Queue)))
		}
		sum += may.Len()
	}
	return sum, nil
}

// storedEnd is the origin offset behind the last message of a home or replica queue.
func (l *unitLog) storedEnd(ctx context.Context, local filter.LocalQueue, origin msha.OriginQueue) (int64, error) {
	q := remoting.Queue{Topic: local.Topic, Broker: local.Broker, ID: local.ID}
	if origin.Unit == l.unit {
		return l.cluster.MaxOffset(ctx, q)
	}
	last, err := l.tail(ctx, q)
	if err != nil || last.Topic == "" {
		return 0, err
	}
	return last.Offset + 1, nil
}
