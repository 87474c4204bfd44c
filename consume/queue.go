package consume

import (
	"context"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// held is one generation of a local queue under this client's lock. Its fields are guarded by the engine's lock, except those set
// before it is shared.
type held struct {
	queue  remoting.Queue
	local  filter.LocalQueue
	home   string // home topic; "" for the retry queue
	unit   string // origin unit of a replica queue, "" otherwise
	cancel context.CancelFunc
	ctx    context.Context // ends when the queue is given up
	done   chan struct{}   // the pull loop ended

	ready      bool // acquired completely: offsets may be committed
	dropped    bool
	trustUntil time.Time // nothing starts later without a renewed lock
	next       int64     // next local offset to pull
	committed  int64
	maxOffset  int64
	entries    []entry // pulled local offsets, ascending
	running    int     // started and not finished, re-scans included
	waiting    int     // in the ready or parked list
}

type entry struct {
	offset int64
	done   bool
}

// committable is the first local offset that is not acknowledged.
func (h *held) committable() int64 {
	for len(h.entries) > 0 && h.entries[0].done {
		h.entries = h.entries[1:]
	}
	if len(h.entries) > 0 {
		return h.entries[0].offset
	}
	return h.next
}

func (h *held) acknowledge(offset int64) {
	lo, hi := 0, len(h.entries)
	for lo < hi {
		mid := (lo + hi) / 2
		if h.entries[mid].offset < offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(h.entries) && h.entries[lo].offset == offset {
		h.entries[lo].done = true
	}
	h.committable()
}

// item is one message on its way to the handler.
type item struct {
	h      *held
	meta   filter.Message
	msg    *primitive.MessageExt
	raw    *remoting.Message
	sub    *subscription
	rescan bool
	key    filter.Key
}

// itemOf turns a stored message into an item; nil if the group's subscription does not want it.
func (e *Engine) itemOf(h *held, m *remoting.Message) *item {
	topic := h.home
	it := &item{h: h, raw: m}
	it.meta = filter.Message{Value: m.Properties[msha.PropertyRoute], Unit: m.Properties[msha.PropertyUnit]}
	if topic == "" {
		topic = m.Properties[primitive.PropertyRetryTopic]
	}
	origin, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
	switch {
	case h.home == "" && (err != nil || m.Properties[msha.PropertyRetry] == ""):
		it.meta.Legacy = true
	case h.home == "":
		it.meta.Origin, it.meta.Retry = origin, m.Properties[msha.PropertyRetry]
	case h.unit != "":
		if err != nil {
			e.cfg.Logger.Error("message in a replica topic without origin ignored", "queue", h.queue.String(), "offset", m.QueueOffset, "error", err)
			return nil
		}
		it.meta.Origin = origin
	default:
		it.meta.Origin = msha.Origin{OriginQueue: e.homeOrigin(h.queue), Offset: m.QueueOffset}
	}
	if it.meta.Unit == "" {
		it.meta.Unit = it.meta.Origin.Unit
	}
	if it.sub = e.subs[topic]; it.sub == nil || !matchTag(it.sub.selector, m.Properties["TAGS"]) {
		return nil
	}
	it.msg = present(m, topic, h.queue)
	return it
}

func (e *Engine) homeOrigin(q remoting.Queue) msha.OriginQueue {
	return msha.OriginQueue{Unit: e.cfg.Unit, Broker: q.Broker, Topic: q.Topic, Queue: q.ID}
}

// present is the message as client-go would give it to a handler.
func present(m *remoting.Message, topic string, q remoting.Queue) *primitive.MessageExt {
	body, err := m.PlainBody()
	if err != nil {
		body = m.Body // the handler sees what is stored, as with client-go
	}
	out := &primitive.MessageExt{
		MsgId: m.Properties[primitive.PropertyUniqueClientMessageIdKeyIndex], OffsetMsgId: remoting.MessageID(m.StoreHost, m.CommitLogOffset),
		QueueOffset: m.QueueOffset, SysFlag: m.SysFlag, BornTimestamp: m.BornTimestamp, BornHost: m.BornHost.String(),
		StoreTimestamp: m.StoreTimestamp, StoreHost: m.StoreHost.String(), CommitLogOffset: m.CommitLogOffset, BodyCRC: m.BodyCRC,
		ReconsumeTimes: m.ReconsumeTimes, PreparedTransactionOffset: m.PreparedOffset,
	}
	if out.MsgId == "" {
		out.MsgId = out.OffsetMsgId
	}
	out.Topic, out.Body, out.Flag = topic, body, m.Flag
	out.Queue = &primitive.MessageQueue{Topic: q.Topic, BrokerName: q.Broker, QueueId: q.ID}
	out.WithProperties(m.Properties)
	return out
}

// pullLoop reads an opened queue in order until it is given up.
func (e *Engine) pullLoop(h *held, sub *subscription) {
	backoff := retryInterval
	for h.ctx.Err() == nil {
		err := e.await(h.ctx, func() bool { return int64(len(h.entries)) < e.set.threshold && e.state == stateStarted })
		if err != nil {
			return
		}
		req := remoting.PullRequest{Queue: h.queue, Group: e.set.group, Offset: h.next, Max: e.set.pullBatch, Suspend: longPoll}
		if sub != nil {
			req.SubExpression, req.SubVersion = sub.selector.Expression, sub.version
		}
		res, err := e.cfg.Cluster.Pull(h.ctx, req)
		if err != nil {
			if h.ctx.Err() == nil {
				e.cfg.Logger.Warn("pull failed, trying again", "queue", h.queue.String(), "error", err)
				e.pause(backoff)
				backoff = min(2*backoff, 5*time.Second)
				e.cfg.Cluster.Forget()
			}
			continue
		}
		backoff = retryInterval
		e.arrived(h, res)
	}
}

// arrived registers a pull's messages in the tracker and hands them to the workers.
func (e *Engine) arrived(h *held, res *remoting.PullResult) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.dropped {
		return
	}
	if res.Status == remoting.PullOffsetIllegal {
		e.cfg.Logger.Error("read position is outside the queue", "queue", h.queue.String(), "position", h.next, "min", res.MinOffset, "max", res.MaxOffset)
	}
	h.maxOffset = res.MaxOffset
	var items []*item
	var metas []filter.Message
	for _, m := range res.Messages {
		if m.QueueOffset < h.next {
			continue
		}
		if it := e.itemOf(h, m); it != nil {
			items = append(items, it)
			metas = append(metas, it.meta)
			h.entries = append(h.entries, entry{offset: m.QueueOffset})
		}
	}
	switch {
	case h.home == "": // the facts of retry copies are their messages' own
	case h.unit == "":
		e.tracker.Pulled(h.local, e.homeOrigin(h.queue), metas, res.NextOffset)
	default:
		e.tracker.Pulled(h.local, msha.OriginQueue{}, metas, 0)
	}
	h.next = res.NextOffset
	e.enqueue(items...)
}

func (e *Engine) enqueue(items ...*item) {
	for _, it := range items {
		it.h.waiting++
	}
	e.ready = append(e.ready, items...)
	e.broadcast()
}

// unpark lets the workers look again at messages that had to wait for facts; the lock is held.
func (e *Engine) unpark() {
	for _, it := range e.parked {
		it.meta.Fresh = true
	}
	e.ready = append(e.ready, e.parked...)
	e.parked = nil
	e.broadcast()
}

func matchTag(s consumer.MessageSelector, tag string) bool {
	if s.Expression == "" || s.Expression == "*" {
		return true
	}
	for _, want := range splitTags(s.Expression) {
		if want == tag {
			return true
		}
	}
	return false
}
