package replicate

import (
	"context"
	"sort"
	"time"

	"github.com/go-msha/msha"
)

func (r *Replicator) list(topic string) []*pipe {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*pipe
	for _, p := range r.pipes {
		if topic == "" || p.source.Topic == topic {
			out = append(out, p)
		}
	}
	sort.Slice(out, func(i, k int) bool {
		return out[i].unit+" "+out[i].source.String() < out[k].unit+" "+out[k].source.String()
	})
	return out
}

// Pause stops copying a topic in this process after the batch in flight; Resume continues. The other processes of the origin are not told,
// and take their state along when work moves: pause all of them to pause a topic. The facts log cannot be paused.
func (r *Replicator) Pause(topic string) { r.setPaused(topic, true) }

// Resume continues a paused topic.
func (r *Replicator) Resume(topic string) { r.setPaused(topic, false) }

func (r *Replicator) setPaused(topic string, on bool) {
	if topic == msha.ProgressTopic {
		return
	}
	r.mu.Lock()
	r.paused[topic] = on
	r.mu.Unlock()
	for _, p := range r.list(topic) {
		p.pause(on)
	}
}

// syncPoll is how often Sync looks at the pipes' positions in memory, syncLook how often it reads the tails of others' pipes.
const (
	syncPoll = 5 * time.Millisecond
	syncLook = 100 * time.Millisecond
)

// Sync blocks until every message the origin's queues of a topic hold now is copied to every target, by this process or others, or ctx
// ends. It needs Run. It returns the error of a queue that stopped here; one that stopped in another process is waited for.
func (r *Replicator) Sync(ctx context.Context, topic string) error {
	tick := time.NewTicker(syncPoll)
	defer tick.Stop()
	var goals map[pipeKey]int64
	var looked time.Time
	for {
		done, err := false, error(nil)
		if goals == nil {
			goals, err = r.goals(ctx, topic)
		}
		if err == nil && goals != nil {
			done, err = r.reached(goals)
			if err == nil && !done && time.Since(looked) >= syncLook {
				r.reachedElsewhere(ctx, goals)
				looked = time.Now()
			}
		}
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// goals are the ends of all queues of a topic for all targets, whether their pipes exist yet or not; nil before Run knows the origin.
func (r *Replicator) goals(ctx context.Context, topic string) (map[pipeKey]int64, error) {
	origin := r.sites.Known(r.origin)
	if origin == nil {
		return nil, nil
	}
	if err := r.history.Refresh(ctx); err != nil {
		return nil, err
	}
	units, err := readUnits(ctx, r.store)
	if err != nil {
		return nil, err
	}
	queues, err := origin.Queues(ctx, topic, false)
	if err != nil {
		return nil, err
	}
	goals := map[pipeKey]int64{}
	for _, q := range queues {
		end, err := origin.MaxOffset(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, u := range r.targets(units) {
			key := pipeKey{u.Name, q}
			if next, located, err := r.position(key); located && next > end && err == nil {
				return nil, nil // the origin does not show what was copied: it has lost it, perhaps, and the pipe is about to find out
			}
			goals[key] = end
		}
	}
	return goals, nil
}

// reached removes the goals that this process's pipes have reached, and reports whether none is left.
func (r *Replicator) reached(goals map[pipeKey]int64) (bool, error) {
	for key, goal := range goals {
		next, located, err := r.position(key)
		if isFinal(err) {
			return false, err
		}
		if located && err == nil && next >= goal {
			delete(goals, key)
		}
	}
	return len(goals) == 0, nil
}

// position is the state of a pipe; not located if this process has none.
func (r *Replicator) position(key pipeKey) (next int64, located bool, err error) {
	r.mu.Lock()
	p := r.pipes[key]
	r.mu.Unlock()
	if p == nil {
		return 0, false, nil
	}
	return p.state()
}

// reachedElsewhere removes the goals that the tails of replica queues show to be reached, where another process copies. What cannot be
// looked up stays.
func (r *Replicator) reachedElsewhere(ctx context.Context, goals map[pipeKey]int64) {
	for key, goal := range goals {
		remote := r.sites.Known(key.unit)
		if remote == nil || !r.sharing.elsewhere(share{key.unit, key.queue.Topic, key.queue.Broker}) {
			continue
		}
		doc, err := r.store.Get(ctx, r.layoutKey(key.unit))
		if err != nil {
			continue
		}
		layout, err := parseLayout(doc.Key, doc.Value)
		if err != nil {
			continue
		}
		target, ok := layout.find(key.queue)
		if !ok {
			continue
		}
		if tail, _, err := lastCopy(ctx, remote, target, r.opts.BatchMessages); err == nil && nextOf(tail, r.history.Now()) >= goal {
			delete(goals, key)
		}
	}
}
