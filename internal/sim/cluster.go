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
	origin      msha.Origin // where it was stored; other messages are stored there once it is lost
	value, unit string
	unwanted    bool // the group's subscription filters it out

	lost     bool        // its broker lost it
	was      msha.Origin // its identity until then
	early    bool        // it was stored where messages had been lost, before everybody knew
	copyLost bool        // a copy of it was lost
	shadowed bool        // it is lost, and others were stored at its offset before everybody knew
}

// stored is a message at a place in a queue: the original, a copy, or a retry copy.
type stored struct {
	*message
	id       msha.Origin // what a copy says it is; of an original the reader says it, by the incarnations he knows
	storedAt int64
	number   string // of a retry copy
	attempt  int    // failures before this copy
}

// queue is a local queue with the group's committed offset and lock.
type queue struct {
	local     filter.LocalQueue
	origin    msha.OriginQueue // of a home or replica queue
	items     []stored
	committed int64 // -1: none
	commits   []commit
	waiting   []func()

	holder    string
	lockUntil int64

	w    *world
	loss *loss // the last one
}

// commit is a committed offset, and since when.
type commit struct{ offset, at int64 }

func (q *queue) append(ms ...stored) {
	for _, m := range ms {
		m.storedAt = q.w.now
		q.items = append(q.items, m)
	}
	q.wake()
}

func (q *queue) wake() {
	waiting := q.waiting
	q.waiting = nil
	for _, f := range waiting {
		f()
	}
}

func (q *queue) commit(offset int64) {
	q.committed = offset
	q.commits = append(q.commits, commit{offset, q.w.now})
}

func (q *queue) end() int64 { return int64(len(q.items)) }

// factLog is one broker's fact log, or its copy in another unit. Bodies went through the codec.
type factLog struct {
	w            *world
	unit, broker string // where it was first written
	home         string // the broker it is at
	bodies       []*body
	waiting      []func()
}

// body is one message of a log.
type body struct {
	records  []filter.Record
	storedAt int64
	at       int64
	offset   int64 // in the log where it was first written
	of       *body // the original
	log      *factLog
	lost     bool
}

func (l *factLog) append(b *body) {
	b.storedAt, b.at = l.w.now, len64(l.bodies)
	if b.of == nil {
		b.of, b.offset, b.log = b, b.at, l
	} else {
		b.records = slices.Clone(b.records)
	}
	for i := range b.records {
		b.records[i].LogOffset = b.at
	}
	l.bodies = append(l.bodies, b)
	l.wake()
}

// has tells whether a body is where it was; nil is nowhere, and not missed.
func (l *factLog) has(b *body) bool {
	return b == nil || b.at < len64(l.bodies) && l.bodies[b.at] == b
}

func (l *factLog) wake() {
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
	delays  []*delayed
	agents  []*agent // every process there ever was

	cut  bool // nothing outside can be reached, nor reaches the unit
	dark bool // no process runs, nothing is produced
}

func newCluster(w *world, unit string) *cluster {
	c := &cluster{w: w, unit: unit, topics: map[string][]*queue{}, queues: map[filter.LocalQueue]*queue{}, logs: map[string]*factLog{}, members: map[string]*member{}}
	for b := range w.o.brokers {
		broker := "broker-" + string(rune('a'+b))
		c.brokers = append(c.brokers, broker)
		c.logs[broker] = &factLog{w: w, unit: unit, broker: broker, home: broker}
		for id := range w.o.queues {
			q := c.makeQueue(topic, broker, id)
			q.origin = msha.OriginQueue{Unit: unit, Broker: broker, Topic: topic, Queue: id}
		}
		c.makeQueue(retryTopic, broker, 0)
	}
	return c
}

func (c *cluster) makeQueue(topic, broker string, id int) *queue {
	q := &queue{w: c.w, local: filter.LocalQueue{Topic: topic, Broker: broker, ID: id}, committed: -1}
	c.queues[q.local] = q
	c.topics[topic] = append(c.topics[topic], q)
	return q
}

// home lists where producers write.
func (c *cluster) home() []*queue { return c.topics[topic] }

// queueOf is the home queue of its first incarnation.
func (c *cluster) queueOf(o msha.OriginQueue) *queue {
	return c.queues[filter.LocalQueue{Topic: o.Topic, Broker: o.Broker, ID: o.Queue}]
}

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
	l.append(&body{records: decoded})
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
