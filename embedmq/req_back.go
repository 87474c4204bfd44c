package embedmq

import (
	mrand "math/rand/v2"
	"strconv"

	"github.com/go-msha/msha/internal/remoting"
)

// sendBack serves CONSUMER_SEND_MSG_BACK: a consumer gives a message back for a later try.
func (b *broker) sendBack(r *request) *remoting.Command {
	if bad := r.need("offset", "group", "delayLevel"); bad != nil {
		return bad
	}
	group := r.str("group")
	g := b.findGroup(group)
	if g.RetryQueues <= 0 {
		return r.ok(nil)
	}
	topic := retryPrefix + group
	queue := mrand.IntN(g.RetryQueues)
	b.backTopic(topic, g.RetryQueues)
	rec := b.look(r.int64("offset"))
	if rec == nil {
		return r.fail(remoting.RespSystemError, "look message by offset failed, %d", r.int64("offset"))
	}
	ms, err := remoting.DecodeMessages(rec.enc)
	if err != nil {
		return r.fail(remoting.RespSystemError, "%v", err)
	}
	m := ms[0]
	if m.Properties[propRetryTop] == "" {
		m.Properties[propRetryTop] = m.Topic
	}
	if m.Properties[propOriginID] == "" {
		m.Properties[propOriginID] = remoting.MessageID(b.host, rec.phys)
	}
	m.Properties[propWait] = "false"
	limit := g.RetryMaxTimes
	if _, ok := r.cmd.Ext["maxReconsumeTimes"]; ok {
		limit = r.int("maxReconsumeTimes")
	}
	level := r.int("delayLevel")
	if int(m.ReconsumeTimes) >= limit || level < 0 {
		topic, queue, level = dlqPrefix+group, 0, 0
		b.backTopic(topic, 1)
	} else if level == 0 {
		level = 3 + int(m.ReconsumeTimes)
	}
	m.Properties[propDelay] = strconv.Itoa(level)
	m.Topic, m.QueueID = topic, queue
	m.ReconsumeTimes++
	b.put(m)
	return r.ok(nil)
}
