package sim

import (
	"github.com/go-msha/msha/filter"
)

// checkEnd checks what must hold once everything is at rest.
func (w *world) checkEnd() {
	facts := map[*cluster]*filter.GroupFacts{}
	for _, c := range w.clusters {
		facts[c] = w.manager.read(c).Group(group)
	}
	for _, m := range w.produced {
		o := m.origin
		if m.unwanted {
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
	for _, r := range w.journal.done[m.origin] {
		if r.key == k {
			return true
		}
	}
	return false
}

// checkReplicas finds replica queues that are not the origin's messages in order, repeats apart.
func (w *world) checkReplicas() {
	for _, c := range w.clusters {
		for local, q := range c.queues {
			if q.origin.Unit == c.unit || local.Topic == retryTopic {
				continue
			}
			next := int64(0)
			for _, m := range q.items {
				if m.origin.Offset == next {
					next++
				} else if m.origin.Offset > next {
					w.fail("%s lacks %s@%d", local, q.origin, next)
				}
			}
		}
	}
}
