package filter

import (
	"maps"
	"slices"

	"github.com/go-msha/msha"
)

// Extent is how many queues of a topic each broker of a unit had when a group began with the topic there. A queue beyond was added later.
type Extent map[string]int

// Add counts one of the queues that are there.
func (x Extent) Add(broker string, queue int) { x[broker] = max(x[broker], queue+1) }

// Has tells whether a queue was there.
func (x Extent) Has(q msha.OriginQueue) bool { return q.Queue < x[q.Broker] }

// Begin are the records by which the log of one broker says where a group begins in a topic. They have to be in one body: its place in the log
// decides which of several counts, of agents that began at the same time. starts has the broker's queues by their number; what is left out begins
// where a Baseline of its own says.
func Begin(group, unit, broker, topic string, x Extent, starts map[int]int64, in *msha.Incarnations) (rs []Record) {
	x = maps.Clone(x)
	x[broker] += 0 // also where the topic has no queue
	for _, about := range slices.Sorted(maps.Keys(x)) {
		rs = append(rs, Record{Kind: Baseline, Group: group, Queue: msha.OriginQueue{Unit: unit, Broker: broker}, Local: LocalQueue{Topic: topic, Broker: about, ID: x[about]}})
	}
	for _, id := range slices.Sorted(maps.Keys(starts)) {
		for _, r := range Baselines(group, msha.OriginQueue{Unit: unit, Broker: broker, Topic: topic, Queue: id}, starts[id], in) {
			r.Local = LocalQueue{Topic: topic, Broker: broker, ID: x[broker]}
			rs = append(rs, r)
		}
	}
	return rs
}

// extentOf names what the log of one broker says of a topic's queues at a broker.
type extentOf struct{ unit, log, topic, broker string }

type extent struct {
	queues int
	at     int64 // where it is in the log
	own    bool  // it is in a log of the own unit
}

// beginnings is what logs say of topics as a whole.
type beginnings struct {
	extents map[extentOf]extent
	queues  map[msha.OriginQueue]start
}

func newBeginnings() beginnings {
	return beginnings{map[extentOf]extent{}, map[msha.OriginQueue]start{}}
}

func (b *beginnings) apply(r Record, own bool) {
	name := extentOf{r.Queue.Unit, r.Queue.Broker, r.Local.Topic, r.Local.Broker}
	if x, known := b.extents[name]; !known || r.LogOffset < x.at {
		b.extents[name] = extent{r.Local.ID, r.LogOffset, own}
	}
	if s, known := b.queues[r.Queue]; r.Queue.Topic != "" && (!known || r.LogOffset < s.at) {
		b.queues[r.Queue] = start{r.Offset, r.LogOffset}
	}
}

// first is where a log says for the first time where the group begins in a topic: that counts, as a whole.
func (b *beginnings) first(unit, log, topic string) (extent, bool) {
	x, ok := b.extents[extentOf{unit, log, topic, log}]
	return x, ok
}

// of is where a queue begins by what its log says of its topic first.
func (b *beginnings) of(q msha.OriginQueue) (start, bool) {
	s, ok := b.queues[q]
	if !ok {
		return start{}, false
	}
	x, ok := b.first(q.Unit, q.Broker, q.Topic)
	return s, ok && x.at == s.at
}

// Begun is the number of queues that a topic had at a broker when the group began with it, by the broker's log.
func (g *GroupFacts) Begun(unit, broker, topic string) (queues int, ok bool) {
	x, ok := g.begun.first(unit, broker, topic)
	return x.queues, ok
}

// Extent is what a topic had when the group began with it: by each broker's own log, and by those of the others of brokers whose log does not say it.
// ok is false if no log says anything. Of what several agents have seen at the same time that counts which all have seen.
func (g *GroupFacts) Extent(unit, topic string) (x Extent, ok bool) {
	x = Extent{}
	var logs []string
	abouts := map[string]bool{}
	for name := range g.begun.extents {
		if name.unit == unit && name.topic == topic {
			abouts[name.broker] = true
			if name.log == name.broker {
				logs = append(logs, name.log)
			}
		}
	}
	for about := range abouts {
		if n, own := g.Begun(unit, about, topic); own {
			x[about] = n
			continue
		}
		for i, log := range logs {
			first, _ := g.begun.first(unit, log, topic)
			n := 0
			if there := g.begun.extents[extentOf{unit, log, topic, about}]; there.at == first.at {
				n = there.queues
			}
			if i == 0 || n < x[about] {
				x[about] = n
			}
		}
	}
	return x, len(logs) > 0
}

// recordsOf gives what the unit's own log of a broker says of topics, for a snapshot.
func (b *beginnings) recordsOf(group, log string) (rs []Record) {
	for name, x := range b.extents {
		if first, ok := b.first(name.unit, name.log, name.topic); x.own && name.log == log && ok && first.at == x.at {
			rs = append(rs, Record{Kind: Baseline, Group: group, Queue: msha.OriginQueue{Unit: name.unit, Broker: log}, Local: LocalQueue{Topic: name.topic, Broker: name.broker, ID: x.queues}, LogOffset: x.at})
		}
	}
	return rs
}
