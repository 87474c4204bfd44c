package sim

import (
	"maps"
	"slices"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

const (
	topic      = "T"
	group      = "g"
	retryTopic = "%RETRY%" + group
)

// message is what a producer stored.
type message struct {
	origin      msha.Origin
	value, unit string
	unwanted    bool // the group's subscription filters it out
}

// stored is a message at a place in a queue: the original, a copy, or a retry copy.
type stored struct {
	*message
	number  string // of a retry copy
	attempt int    // failures before this copy
}

// queue is a local queue with the group's committed offset and lock.
type queue struct {
	local     filter.LocalQueue
	origin    msha.OriginQueue // of a home or replica queue
	items     []stored
	committed int64 // -1: none
	waiting   []func()

	holder    string
	lockUntil int64
}

func (q *queue) append(ms ...stored) {
	q.items = append(q.items, ms...)
	waiting := q.waiting
	q.waiting = nil
	for _, f := range waiting {
		f()
	}
}

// factLog is one broker's fact log, or its copy in another unit. Bodies went through the codec.
type factLog struct {
	unit, broker string // where it was first written
	bodies       [][]filter.Record
	waiting      []func()
}

func (l *factLog) append(bodies ...[]filter.Record) {
	l.bodies = append(l.bodies, bodies...)
	waiting := l.waiting
	l.waiting = nil
	for _, f := range waiting {
		f()
	}
}

// member is a client in a cluster's consumer list.
type member struct {
	writer string // of the process
	seen   int64  // last heartbeat
	alive  bool   // false: its connection broke
}

// cluster is one unit's brokers.
type cluster struct {
	w       *world
	unit    string
	brokers []string
	topics  map[string][]*queue
	queues  map[filter.LocalQueue]*queue
	logs    map[string]*factLog // own, by broker
	copies  []*factLog          // of other units' logs
	members map[string]*member
	agents  []*agent // every process there ever was

	cut  bool // nothing outside can be reached, nor reaches the unit
	dark bool // no process runs, nothing is produced
}

func newCluster(w *world, unit string) *cluster {
	c := &cluster{w: w, unit: unit, topics: map[string][]*queue{}, queues: map[filter.LocalQueue]*queue{}, logs: map[string]*factLog{}, members: map[string]*member{}}
	for b := range w.o.brokers {
		broker := "broker-" + string(rune('a'+b))
		c.brokers = append(c.brokers, broker)
		c.logs[broker] = &factLog{unit: unit, broker: broker}
		for id := range w.o.queues {
			q := c.makeQueue(topic, broker, id)
			q.origin = msha.OriginQueue{Unit: unit, Broker: broker, Topic: topic, Queue: id}
		}
		c.makeQueue(retryTopic, broker, 0)
	}
	return c
}

func (c *cluster) makeQueue(topic, broker string, id int) *queue {
	q := &queue{local: filter.LocalQueue{Topic: topic, Broker: broker, ID: id}, committed: -1}
	c.queues[q.local] = q
	c.topics[topic] = append(c.topics[topic], q)
	return q
}

// home lists where producers write.
func (c *cluster) home() []*queue { return c.topics[topic] }

func (c *cluster) retry(broker string) *queue {
	return c.queues[filter.LocalQueue{Topic: retryTopic, Broker: broker}]
}

// lock gives a queue's lock to client if it is free, the client's own or expired.
func (c *cluster) lock(q *queue, client string) bool {
	if q.holder != "" && q.holder != client && c.w.now < q.lockUntil {
		return false
	}
	q.holder, q.lockUntil = client, c.w.now+lockTime
	return true
}

func (c *cluster) unlock(q *queue, client string) {
	if q.holder == client {
		q.holder = ""
	}
}

// store appends one body to a broker's fact log: encoded and decoded as on the wire. It returns the log's end behind it.
func (c *cluster) store(broker string, rs []filter.Record) int64 {
	decoded, err := filter.DecodeRecords(filter.EncodeRecords(rs))
	if err != nil {
		c.w.fail("a record does not survive the codec: %v", err)
	}
	l := c.logs[broker]
	for i := range decoded {
		decoded[i].LogOffset = int64(len(l.bodies))
	}
	l.append(decoded)
	return int64(len(l.bodies))
}

// listed are the clients in the consumer list, sorted.
func (c *cluster) listed() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		if m := c.members[id]; m.alive && c.w.now-m.seen < listingTime {
			out = append(out, id)
		}
	}
	return out
}

// register is a heartbeat; a new client makes the others look again.
func (c *cluster) register(client, writer string) {
	m := c.members[client]
	fresh := m == nil || !m.alive || c.w.now-m.seen >= listingTime
	c.members[client] = &member{writer: writer, seen: c.w.now, alive: true}
	if fresh {
		c.notify()
	}
}

func (c *cluster) unregister(client string) {
	delete(c.members, client)
	c.notify()
}

// notify tells the members that the list changed, sooner or later.
func (c *cluster) notify() {
	for _, a := range c.agents {
		if a.alive() {
			a.after(c.w.between(5, 200), a.notified)
		}
	}
}

// replicaOf gives the queue that holds the copies of an origin queue; the layout spreads them over the brokers.
func (c *cluster) replicaOf(o msha.OriginQueue) *queue {
	name := msha.ReplicaTopic(o.Topic, o.Unit)
	for _, q := range c.topics[name] {
		if q.origin == o {
			return q
		}
	}
	n := len(c.topics[name])
	q := c.makeQueue(name, c.brokers[n%len(c.brokers)], n/len(c.brokers))
	q.origin = o
	slices.SortFunc(c.topics[name], func(a, b *queue) int { return strings.Compare(a.local.String(), b.local.String()) })
	return q
}
