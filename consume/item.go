package consume

import (
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// item is one message on its way to the handler.
type item struct {
	h      *held
	meta   filter.Message
	raw    *remoting.Message
	topic  string // home topic
	sub    *subscription
	rescan bool
	key    filter.Key // the term it runs under
	dead   bool       // it is in the dead-letter topic

	// Under the engine's lock:
	asked bool      // the log is to be read to its end for it
	fresh bool      // it was
	said  bool      // that what its route's term began with is missing
	since time.Time // it waits for where the group begins in its queue
}

// itemOf turns a stored message into an item; nil if the group's subscription does not want it, or it has no identity.
func (e *Engine) itemOf(h *held, m *remoting.Message) *item {
	it := &item{h: h, raw: m, topic: h.home, sub: h.sub}
	it.meta = filter.Message{Value: m.Properties[msha.PropertyRoute], Unit: m.Properties[msha.PropertyUnit]}
	switch {
	case h.home == "": // retry queue; what is in it was wanted when it was first delivered
		it.topic = m.Properties[primitive.PropertyRetryTopic]
		origin, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
		if err != nil || m.Properties[msha.PropertyRetry] == "" {
			it.meta.Legacy = true
			break
		}
		it.meta.Origin, it.meta.Retry = origin, m.Properties[msha.PropertyRetry]
		if it.topic == "" {
			it.topic = origin.Topic
		}
	case !h.sub.wanted(m.Properties["TAGS"]):
		return nil
	case h.unit != "":
		origin, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
		if err != nil {
			e.cfg.Logger.Error("message in a replica topic without origin ignored", "queue", h.queue.String(), "offset", m.QueueOffset, "error", err)
			return nil
		}
		it.meta.Origin = origin
	default:
		it.meta.Origin = msha.Origin{OriginQueue: h.in.At(e.homeOrigin(h.queue), m.QueueOffset), Offset: m.QueueOffset}
	}
	if it.meta.Unit == "" {
		it.meta.Unit = it.meta.Origin.Unit
	}
	return it
}

// id is the message's id for logs.
func (it *item) id() string {
	if id := it.raw.Properties[primitive.PropertyUniqueClientMessageIdKeyIndex]; id != "" {
		return id
	}
	return remoting.MessageID(it.raw.StoreHost, it.raw.CommitLogOffset)
}

// homeOrigin is the first incarnation of a home queue.
func (e *Engine) homeOrigin(q remoting.Queue) msha.OriginQueue {
	return msha.OriginQueue{Unit: e.cfg.Unit, Broker: q.Broker, Topic: q.Topic, Queue: q.ID}
}

// present is the message as client-go would give it to a handler.
func present(m *remoting.Message, topic string, q remoting.Queue) *primitive.MessageExt {
	body, err := m.PlainBody()
	if err != nil {
		body = m.Body // the handler sees what is stored, as with client-go
	}
	if m.Properties[msha.PropertyEmpty] != "" {
		body = nil
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
