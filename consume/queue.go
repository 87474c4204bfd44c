package consume

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// held is one generation of a local queue under this client's lock.
type held struct {
	queue    remoting.Queue
	local    filter.LocalQueue
	home     string // home topic; "" for the retry queue
	unit     string // origin unit of a replica queue, "" otherwise
	sub      *subscription
	ctx      context.Context // ends when the queue is given up
	cancel   context.CancelFunc
	done     chan struct{} // its loops ended
	room     chan struct{} // the buffer has shrunk
	scanRoom chan struct{} // fewer re-scanned messages wait
	scan     chan struct{} // something may have become pending

	// Under the engine's lock:
	in         *msha.Incarnations // of home queues, as this generation knows them
	suspect    bool               // its broker may have lost its tail: it was away since the last pull
	lost       bool               // its broker lost its tail
	unsaid     bool               // the log has lost what its acknowledgements rest on
	log        *logReader         // of its broker
	open       bool               // acquired completely: offsets may be committed
	nowhere    bool               // that its messages wait for where the group begins was reported
	originSeen bool               // a replica queue's messages have told whose copies they are
	dropped    bool
	unfiltered bool              // its broker refuses the filter, which was reported
	trustUntil time.Time         // nothing starts later without a renewed lock
	lockedAt   time.Time         // its lock was granted before then
	first      int64             // local offset at which it began to pull
	next       int64             // next local offset to pull
	last       *remoting.Message // read last, body dropped: by which a queue that was cut off is recognized
	committed  int64
	published  int64 // position in the log, of a replica queue
	asked      int64 // where an operator wants it to be read on, unless notAsked
	maxOffset  int64
	window     filter.Window // pulled local offsets
	ready      []*item       // not decided about; of an ordered group the lowest first
	lane       filter.Lane   // of an ordered group
	scanning   uint64        // the re-scan that is under way
	resumeAt   time.Time     // an ordered group waits after a failure
	inRing     bool
	running    int // started and not finished, re-scans included
	rescans    int // re-scanned and not finished
}

// leftover is what is remembered of a generation.
type leftover struct {
	last      *remoting.Message
	committed int64
	queue     msha.OriginQueue // with the incarnation of the last message; of a home queue
	lost      bool             // its broker lost its tail
}

func (e *Engine) leftover(h *held) leftover {
	l := leftover{last: h.last, committed: h.committed, lost: h.lost}
	if h.last != nil {
		l.queue = h.in.At(e.homeOrigin(h.queue), h.last.QueueOffset)
	}
	return l
}

func (e *Engine) newHeld(q remoting.Queue, t topicOf, trustUntil time.Time) *held {
	h := &held{
		queue: q, local: filter.LocalQueue{Topic: q.Topic, Broker: q.Broker, ID: q.ID}, home: t.home, unit: t.unit, sub: t.sub,
		trustUntil: trustUntil, lockedAt: e.cfg.Now(), committed: -1, asked: notAsked, done: make(chan struct{}),
		room: make(chan struct{}, 1), scanRoom: make(chan struct{}, 1), scan: make(chan struct{}, 1),
	}
	h.ctx, h.cancel = context.WithCancel(e.ctx)
	return h
}

// committable is the first local offset that is not acknowledged.
func (h *held) committable() int64 { return h.window.Committable(h.next) }

// enqueue lines an item up; the lock is held.
func (e *Engine) enqueue(it *item) {
	h := it.h
	if h.dropped {
		return
	}
	if e.ordered(h) {
		h.insert(it)
	} else {
		h.ready = append(h.ready, it)
	}
	if !h.inRing {
		h.inRing = true
		e.ring = append(e.ring, h)
	}
	e.wakeUp(1)
}

// until waits on a queue's own signal until cond, evaluated under the engine's lock, holds; false if the queue is being given up.
func (e *Engine) until(h *held, signal chan struct{}, cond func() bool) bool {
	for {
		e.mu.Lock()
		ok := cond()
		e.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-signal:
		case <-h.ctx.Done():
			return false
		}
	}
}

const lastBackoff = 5 * time.Second

// hold opens a queue and reads it until it is given up.
func (e *Engine) hold(h *held) {
	defer close(h.done)
	for backoff := retryInterval; ; backoff = min(2*backoff, lastBackoff) {
		err := e.openQueue(h)
		if err == nil {
			break
		}
		if h.ctx.Err() != nil {
			return
		}
		e.interrupted(h, "queue not opened", err)
		pause(h.ctx, backoff)
	}
	var wg sync.WaitGroup
	if h.home != "" {
		wg.Go(func() { e.scanLoop(h) })
	}
	e.pullLoop(h)
	wg.Wait()
}

// pullLoop reads an opened queue in order until it is given up or cannot be read. All its pulls use one connection, so that it notices what
// happened while none was under way:
//
//	handlers are slow, so nothing is pulled → the broker restarts without its tail, others store messages under the same offsets → the next pull
//	would succeed, behind them
func (e *Engine) pullLoop(h *held) {
	backoff, suspect, broker := retryInterval, time.Time{}, e.cfg.Cluster.Pin()
	for e.until(h, h.room, func() bool { return h.asked != notAsked || int64(h.window.Len()) < e.set.threshold }) {
		err := e.readOn(h, broker, !suspect.IsZero())
		switch {
		case err == nil:
			backoff = retryInterval
			if !suspect.IsZero() {
				suspect = time.Time{}
				e.doubt(h, false)
			}
		case h.ctx.Err() != nil:
			return
		case errors.Is(err, errReused), errors.Is(err, msha.ErrGap) && !suspect.IsZero() && time.Since(suspect) > e.limits.settle:
			if h.home == "" || h.unit != "" {
				e.retake(h, err)
				return
			}
			e.cfg.Logger.Error("queue stopped", "queue", h.queue.String(), "error", err)
			return
		default:
			if suspect.IsZero() {
				suspect = time.Now()
				e.doubt(h, true)
			}
			e.interrupted(h, "pull failed", err)
			pause(h.ctx, backoff)
			backoff = min(2*backoff, lastBackoff)
			e.cfg.Cluster.Forget()
			broker = e.cfg.Cluster.Pin()
		}
	}
}

// doubt notes whether a queue's broker may have lost its tail.
func (e *Engine) doubt(h *held, suspect bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h.suspect = suspect
}

// readOn pulls once, or carries out a reset.
func (e *Engine) readOn(h *held, broker *remoting.Cluster, suspect bool) error {
	if to, ok := e.wished(h); ok {
		return e.carryOut(h, to)
	}
	req := remoting.PullRequest{Queue: h.queue, Group: e.set.group, Offset: h.next, Max: e.set.pullBatch, Suspend: longPoll, Resets: true}
	if h.sub != nil {
		req = h.sub.filter(req)
	}
	res, err := broker.Pull(h.ctx, req)
	if err == nil && suspect {
		if err = e.filtered(h); err == nil {
			err = e.sameQueue(h.ctx, h)
		}
	}
	if err != nil {
		return err
	}
	return e.arrived(h, res)
}

// retake begins anew with a replica or retry queue whose broker lost its tail. Their messages carry their identities: which local offsets
// they have does not matter, and the facts tell which are done.
func (e *Engine) retake(h *held, err error) {
	e.cfg.Logger.Warn("queue lost its tail: it is taken again", "queue", h.queue.String(), "error", err)
	e.mu.Lock()
	defer e.mu.Unlock()
	h.last, h.lost = nil, true
	e.giveUp(h)
}

const hintLostTail = "the broker lost its tail or the topic was recreated: a replicator that has copied the queue begins a new incarnation of it; without one, " +
	"raise it (msha.Raise) once it is known what was lost"

var errReused = errors.New("the message read last is no longer there")

// sameQueue checks after an interruption that the message read last is still where it was: a broker that lost its tail stores other
// messages under the same offsets, and they would be taken for what was done.
func (e *Engine) sameQueue(ctx context.Context, h *held) error {
	if h.last == nil {
		return nil
	}
	res, err := e.cfg.Cluster.Pull(ctx, remoting.PullRequest{Queue: h.queue, Group: readerGroup, Offset: h.last.QueueOffset, Max: 1})
	if err != nil {
		return err
	}
	if res.MinOffset > h.last.QueueOffset { // expired meanwhile
		return nil
	}
	if len(res.Messages) == 0 {
		return msha.Errorf("consume.pull", h.queue.String(), hintLostTail, "%w: nothing at offset %d, which was read", msha.ErrGap, h.last.QueueOffset)
	}
	if !sameStored(res.Messages[0], h.last) {
		return msha.Errorf("consume.pull", h.queue.String(), hintLostTail,
			"%w: another message at offset %d: %w", msha.ErrGap, h.last.QueueOffset, errReused)
	}
	return nil
}

// seen is what a message is recognized by later.
func seen(m *remoting.Message) *remoting.Message {
	return &remoting.Message{QueueOffset: m.QueueOffset, StoreTimestamp: m.StoreTimestamp, BodyCRC: m.BodyCRC}
}

func sameStored(a, b *remoting.Message) bool {
	return a.QueueOffset == b.QueueOffset && a.StoreTimestamp == b.StoreTimestamp && a.BodyCRC == b.BodyCRC
}

// sameAsLeft makes the check of sameQueue when this process takes a queue again that it had given up, as it does when the broker was away
// for long. A position that somebody else has committed meanwhile is his decision.
func (e *Engine) sameAsLeft(h *held, start int64) error {
	e.mu.Lock()
	before, ok := e.left[h.queue]
	e.mu.Unlock()
	if !ok || before.committed != start || before.last == nil {
		return nil
	}
	if h.home == "" || h.unit != "" { // its messages carry their identities
		return nil
	}
	if _, used := h.in.After(msha.Origin{OriginQueue: before.queue, Offset: before.last.QueueOffset}); used {
		return nil
	}
	h.last = before.last
	return e.sameQueue(h.ctx, h)
}

// arrived registers a pull's messages in the tracker and lines them up. ErrGap if the queue's offsets are being used again.
func (e *Engine) arrived(h *held, res *remoting.PullResult) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.dropped {
		return nil
	}
	if res.Status == remoting.PullReset || res.Status == remoting.PullOffsetIllegal {
		switch moved(h.next, res.MinOffset, res.MaxOffset, res.NextOffset, res.Status == remoting.PullReset) {
		case cutOff:
			return msha.Errorf("consume.pull", h.queue.String(), hintLostTail,
				"%w: read up to offset %d, the queue ends at %d", msha.ErrGap, h.next, res.NextOffset)
		case expired:
			e.expired(h, h.next, res.NextOffset)
		default:
			e.ask(h, res.NextOffset)
			return nil
		}
	}
	h.maxOffset = res.MaxOffset
	var items []*item
	var metas []filter.Message
	for _, m := range res.Messages {
		if m.QueueOffset < h.next {
			continue
		}
		h.last = seen(m)
		if it := e.itemOf(h, m); it != nil {
			items = append(items, it)
			metas = append(metas, it.meta)
			h.window.Add(m.QueueOffset)
		}
	}
	switch {
	case h.home == "": // the facts of retry copies are their messages' own
	case h.unit == "":
		e.tracker.PulledHome(h.local, e.homeOrigin(h.queue), h.in, metas, h.next, res.NextOffset)
	default:
		e.tracker.Pulled(h.local, msha.OriginQueue{}, metas, 0)
		if len(metas) > 0 && !h.originSeen { // what lies before the first wanted message can be looked for only now
			h.originSeen = true
			e.unsettle(h)
			e.poke(h.scan)
		}
	}
	h.next = res.NextOffset
	for _, it := range items {
		e.enqueue(it)
	}
	return nil
}

// expired reports messages that are gone before this group could look at them (promise P5); the lock is held.
func (e *Engine) expired(h *held, from, to int64) {
	e.stats.Expired += to - from
	e.cfg.Logger.Error("messages expired before the group could process them", "queue", h.queue.String(), "from", from, "to", to-1, "hint", "raise the retention time")
}
