package sim

import (
	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// checkEnd checks what must hold once everything is at rest.
func (w *world) checkEnd() {
	facts := map[*cluster]*filter.GroupFacts{}
	for _, c := range w.clusters {
		facts[c] = w.manager.read(c).Group(group)
	}
	for _, m := range w.produced {
		o := w.identity(m)
		if m.unwanted || m.lost {
			continue
		}
		set, _ := w.store.table.Lookup(m.value, m.unit)
		key := filter.KeyOf(set)
		for _, c := range w.clusters {
			if c.unit != set.Owner {
				continue
			}
			if n, _, open := facts[c].OpenNumber(key, o); open {
				w.fail("%s is processed, and its Open %s has not ended", o, n)
			}
			if facts[c].Done(key, o.OriginQueue).Contains(o.Offset) && !w.ranUnder(m, key) {
				w.fail("%s is Done under %s without a run under it", o, key)
			}
		}
	}
	w.checkReplicas()
}

func (w *world) ranUnder(m *message, k filter.Key) bool {
	for _, r := range w.journal.done[m] {
		if r.key == k {
			return true
		}
	}
	return false
}

// checkReplicas finds replica queues that are not the origin's messages in order, repeats apart, and messages that are not copied.
func (w *world) checkReplicas() {
	for _, c := range w.clusters {
		for local, q := range c.queues {
			if q.origin.Unit == c.unit || local.Topic == retryTopic {
				continue
			}
			in := w.history.of(q.origin.Unit)
			next, there := msha.Origin{OriginQueue: q.origin}, map[msha.Origin]*message{}
			for _, m := range q.items {
				switch {
				case m.id.Incarnation > next.Incarnation:
					next = m.id
					if next.Offset > in.From(m.id.OriginQueue) {
						w.fail("%s lacks the beginning of %s, it begins with %s", local, m.id.OriginQueue, m.id)
					}
					next.Offset++
				case m.id == next:
					next.Offset++
				case m.id.Incarnation == next.Incarnation && m.id.Offset > next.Offset:
					w.fail("%s lacks %s", local, next)
				}
				there[m.id] = m.message
			}
			for off, m := range w.clusterOf(q.origin.Unit).queueOf(q.origin).items {
				id := msha.Origin{OriginQueue: in.At(q.origin, int64(off)), Offset: int64(off)}
				if there[id] != m.message {
					w.fail("%s lacks the copy of %s", local, id)
				}
			}
		}
	}
}
