package embedmq

import (
	"fmt"

	msha "github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// Tail says what a killed broker still has when it comes back: KeepAll or LoseTail.
type Tail struct {
	lose   int
	topics map[string]bool
}

// KeepAll restarts a broker with everything it had acknowledged.
var KeepAll = Tail{}

// LoseTail restarts a broker without the last n messages of each queue; of the queues of the given topics only, if any are given.
// Offsets are reused by later messages, as after the loss of an unflushed tail; committed consumer offsets stay.
func LoseTail(n int, topics ...string) Tail {
	t := Tail{lose: n}
	for _, name := range topics {
		if t.topics == nil {
			t.topics = map[string]bool{}
		}
		t.topics[name] = true
	}
	return t
}

// Kill stops a broker as kill -9 does: connections drop, locks, members and held pulls are gone, its routes disappear. What was
// stored, committed or delayed stays for Restart. ErrNotFound if there is no such broker; killing a dead one does nothing.
func (c *Cluster) Kill(name string) error {
	c.mu.Lock()
	b := c.brokers[name]
	if b == nil {
		c.mu.Unlock()
		return msha.Errorf("embedmq.kill", name, "", "%w: %w", msha.ErrNotFound, errNoBroker)
	}
	l := b.halt()
	c.mu.Unlock()
	l.close()
	return nil
}

// Restart starts a killed broker on its old port. Delayed messages that came due meanwhile are delivered at once. ErrNotFound
// if there is no such broker, ErrInvalid if it is running, ErrClosed after Close.
func (c *Cluster) Restart(name string, t Tail) error {
	c.mu.Lock()
	b := c.brokers[name]
	var err error
	switch {
	case c.closed:
		err = msha.Errorf("embedmq.restart", name, "", "%w", msha.ErrClosed)
	case b == nil:
		err = msha.Errorf("embedmq.restart", name, "", "%w: %w", msha.ErrNotFound, errNoBroker)
	case b.srv != nil:
		err = msha.Errorf("embedmq.restart", name, "kill it first", "%w: broker is running", msha.ErrInvalid)
	case t.lose > 0:
		b.cut(t)
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return b.start(b.addr)
}

func (b *broker) cut(t Tail) {
	for topic, qs := range b.queues {
		if topic == scheduleTopic || t.topics != nil && !t.topics[topic] {
			continue
		}
		for id, q := range qs {
			q.recs = q.recs[: len(q.recs)-min(t.lose, len(q.recs)) : len(q.recs)-min(t.lose, len(q.recs))]
			b.journal.keep(entryMax, nil, queueFields(topic, id, q.max())...)
		}
	}
	b.compact()
}

// RaiseMinOffset drops the messages of a queue below off, as retention does. An offset beyond the maximum leaves the queue empty
// with off as its minimum and maximum. ErrNotFound if the broker or the topic does not exist.
func (c *Cluster) RaiseMinOffset(rq remoting.Queue, off int64) error {
	var err error
	c.locked(func() {
		b := c.brokers[rq.Broker]
		if b == nil || b.topics[rq.Topic] == nil {
			err = msha.Errorf("embedmq.raise", fmt.Sprintf("%s/%s/%d", rq.Broker, rq.Topic, rq.ID), "", "%w", msha.ErrNotFound)
			return
		}
		q := b.queue(rq.Topic, rq.ID)
		q.raiseMin(off)
		b.journal.keep(entryMin, nil, queueFields(rq.Topic, rq.ID, off)...)
		b.compact()
		b.touch(q)
	})
	return err
}
