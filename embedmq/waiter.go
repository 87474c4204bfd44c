package embedmq

import (
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

// waiter is a held pull.
type waiter struct {
	b      *broker
	life   int
	q      *queue
	r      *request
	offset int64
	filter messageFilter
	timer  *time.Timer
}

// hold keeps a pull until a message it matches arrives or its time is over.
func (b *broker) hold(r *request, q *queue, offset int64, f messageFilter, d time.Duration) {
	w := &waiter{b: b, life: b.life, q: q, r: r, offset: offset, filter: f}
	w.timer = time.AfterFunc(d, func() {
		b.c.locked(func() {
			if w.remove() {
				w.answer()
			}
		})
	})
	q.waiters = append(q.waiters, w)
}

func (w *waiter) remove() bool {
	for i, x := range w.q.waiters {
		if x == w {
			w.q.waiters = append(w.q.waiters[:i:i], w.q.waiters[i+1:]...)
			return true
		}
	}
	return false
}

// answer runs the pull once more, now without holding it.
func (w *waiter) answer() {
	w.timer.Stop()
	if w.b.srv == nil || w.b.life != w.life || w.b.c.closed {
		return
	}
	if a := w.b.pullNow(w.r, false); a != nil {
		w.b.c.post(w.r.conn, a)
	}
}

// touch marks a queue whose held pulls must be looked at when the lock is about to be released.
func (b *broker) touch(q *queue) {
	if !q.dirty {
		q.dirty = true
		b.c.dirty = append(b.c.dirty, q)
	}
}

// arrived is called for each stored message.
func (b *broker) arrived(q *queue, _ *record) { b.touch(q) }

// wake answers the held pulls that have something to get; one whose filter matches nothing that arrived stays held.
func (q *queue) wake() {
	held := q.waiters
	q.waiters = nil
	for _, w := range held {
		if w.offset < q.min || w.offset > q.max() || q.matches(w.offset, w.filter) {
			w.answer()
			continue
		}
		q.waiters = append(q.waiters, w)
	}
}

func (q *queue) matches(from int64, f messageFilter) bool {
	for _, rec := range q.recs[max(from-q.min, 0):] {
		if f.match(rec) {
			return true
		}
	}
	return false
}

// leaveWaiters forgets the held pulls of a connection.
func (b *broker) leaveWaiters(conn *remoting.Conn) {
	for _, qs := range b.queues {
		for _, q := range qs {
			kept := q.waiters[:0:0]
			for _, w := range q.waiters {
				if w.r.conn == conn {
					w.timer.Stop()
					continue
				}
				kept = append(kept, w)
			}
			q.waiters = kept
		}
	}
}
