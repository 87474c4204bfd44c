package embedmq

import (
	"sort"

	"github.com/go-msha/msha/internal/remoting"
)

// record is one stored message. It is immutable, so that its encoded form can be sent without holding the lock.
type record struct {
	topic  string
	queue  int
	offset int64 // in the queue
	phys   int64 // in the broker's commit log
	stored int64 // ms
	tags   int64 // Java hash of the tag, 0 without one
	enc    []byte
}

// properties are those of the stored message.
func (r *record) properties() map[string]string {
	ms, err := remoting.DecodeMessages(r.enc)
	if err != nil || len(ms) != 1 {
		return nil
	}
	return ms[0].Properties
}

// queue is one queue of a topic on one broker. Everything in it is guarded by the cluster's lock.
type queue struct {
	min     int64
	recs    []*record // recs[i] has offset min+i
	waiters []*waiter
	dirty   bool
}

func (q *queue) max() int64 { return q.min + int64(len(q.recs)) }

// raiseMin drops what is below off, as retention does; beyond the maximum the queue becomes empty at off.
func (q *queue) raiseMin(off int64) {
	switch {
	case off <= q.min:
		return
	case off >= q.max():
		q.recs = nil
	default:
		q.recs = append([]*record(nil), q.recs[off-q.min:]...)
	}
	q.min = off
}

// byTime gives the offset of the first message stored at ms or later, the maximum if there is none.
func (q *queue) byTime(ms int64) int64 {
	return q.min + int64(sort.Search(len(q.recs), func(i int) bool { return q.recs[i].stored >= ms }))
}

// queue returns the queue, creating it on first use.
func (b *broker) queue(topic string, id int) *queue {
	qs := b.queues[topic]
	if qs == nil {
		qs = map[int]*queue{}
		b.queues[topic] = qs
	}
	q := qs[id]
	if q == nil {
		q = &queue{}
		qs[id] = q
	}
	return q
}

// append stores m in its queue and hands back what was stored. It fills in the positions, store time and host of m.
func (b *broker) append(m *remoting.Message) *record {
	q := b.queue(m.Topic, m.QueueID)
	m.QueueOffset = q.max()
	m.CommitLogOffset = b.nextPhys
	m.StoreTimestamp = b.c.opts.Clock.Now().UnixMilli()
	m.StoreHost = b.host
	m.BodyCRC = bodyCRC(m.Body)
	enc := remoting.AppendMessage(nil, m)
	r := &record{topic: m.Topic, queue: m.QueueID, offset: m.QueueOffset, phys: m.CommitLogOffset, stored: m.StoreTimestamp,
		tags: tagCode(m.Properties[propTags]), enc: enc}
	b.journal.keep(entryMessage, enc)
	b.nextPhys += int64(len(enc))
	q.recs = append(q.recs, r)
	b.log = append(b.log, r)
	b.arrived(q, r)
	return r
}

// look finds a message by its commit log offset, nil if there is none or it expired.
func (b *broker) look(phys int64) *record {
	i := sort.Search(len(b.log), func(i int) bool { return b.log[i].phys >= phys })
	if i == len(b.log) || b.log[i].phys != phys {
		return nil
	}
	r := b.log[i]
	q := b.queue(r.topic, r.queue)
	if r.offset < q.min || r.offset >= q.max() || q.recs[r.offset-q.min] != r {
		return nil
	}
	return r
}

// compact forgets commit log entries that no queue holds any more.
func (b *broker) compact() {
	kept := b.log[:0:0]
	for _, r := range b.log {
		if q := b.queues[r.topic][r.queue]; q != nil && r.offset >= q.min && r.offset < q.max() && q.recs[r.offset-q.min] == r {
			kept = append(kept, r)
		}
	}
	b.log = kept
}
