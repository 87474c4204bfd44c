package replicate

import (
	"encoding/json"
	"sort"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// Layout is the document that says which replica queue holds the copies of which origin queue. It only grows.
type Layout struct {
	Queues []Assigned `json:"queues"`
}

// Assigned is one origin queue and its replica queue.
type Assigned struct {
	Origin remoting.Queue `json:"origin"`
	Target remoting.Queue `json:"target"`
}

func parseLayout(key string, value []byte) (Layout, error) {
	var l Layout
	if len(value) == 0 {
		return l, nil
	}
	if err := json.Unmarshal(value, &l); err != nil {
		return l, msha.Errorf("replicate.layout", key, "restore the document from a backup", "%w: %v", msha.ErrInvalid, err)
	}
	seen := map[remoting.Queue]bool{}
	for _, a := range l.Queues {
		if seen[a.Target] || a.Target.ID < 0 || a.Origin.ID < 0 {
			return l, msha.Errorf("replicate.layout", key, "restore the document from a backup", "%w: replica queue %s holds two origin queues", msha.ErrInvalid, a.Target)
		}
		seen[a.Target] = true
	}
	return l, nil
}

// find returns the replica queue of an origin queue.
func (l Layout) find(q remoting.Queue) (remoting.Queue, bool) {
	for _, a := range l.Queues {
		if a.Origin == q {
			return a.Target, true
		}
	}
	return remoting.Queue{}, false
}

// assign returns the layout with a replica queue for each of the origin queues of one topic; changed is false if all had one. New
// queues go to the broker with the fewest queues of the replica topic. Existing entries never change.
func (l Layout) assign(queues []remoting.Queue, replica string, brokers []string) (out Layout, changed bool) {
	brokers = append([]string{}, brokers...)
	sort.Strings(brokers)
	count := map[string]int{}
	for _, a := range l.Queues {
		if a.Target.Topic == replica {
			count[a.Target.Broker]++
		}
	}
	out.Queues = append(out.Queues, l.Queues...)
	for _, q := range queues {
		if _, ok := out.find(q); ok || len(brokers) == 0 {
			continue
		}
		best := brokers[0]
		for _, b := range brokers[1:] {
			if count[b] < count[best] {
				best = b
			}
		}
		out.Queues = append(out.Queues, Assigned{q, remoting.Queue{Topic: replica, Broker: best, ID: count[best]}})
		count[best]++
		changed = true
	}
	return out, changed
}

// sizes is how many queues the replica topic needs per broker.
func (l Layout) sizes(replica string) map[string]int {
	n := map[string]int{}
	for _, a := range l.Queues {
		if a.Target.Topic == replica {
			n[a.Target.Broker] = max(n[a.Target.Broker], a.Target.ID+1)
		}
	}
	return n
}
