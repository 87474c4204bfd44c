package embedmq

import (
	"crypto/rand"
	"encoding/hex"
	mrand "math/rand/v2"
	"strconv"
	"strings"

	"github.com/go-msha/msha/internal/remoting"
)

// Properties that brokers read or write.
const (
	propTags     = "TAGS"
	propUniqKey  = "UNIQ_KEY"
	propDelay    = "DELAY"
	propCluster  = "CLUSTER"
	propWait     = "WAIT"
	propRealTop  = "REAL_TOPIC"
	propRealQID  = "REAL_QID"
	propRetryTop = "RETRY_TOPIC"
	propOriginID = "ORIGIN_MESSAGE_ID"
	propTran     = "TRAN_MSG"
	propTranID   = "__transactionId__"
	propRegion   = "MSG_REGION"
	propTraceOn  = "TRACE_ON"

	region = "DefaultRegion"

	maxProperties = 32767
)

// sendHeader is the send header of both versions.
type sendHeader struct {
	group, topic, defaultTopic string
	defaultQueues, queue       int
	sysFlag, flag, reconsumed  int
	born                       int64
	properties                 map[string]string
	maxReconsume               int
	hasMaxReconsume            bool
}

var sendV2 = map[string]string{"producerGroup": "a", "topic": "b", "defaultTopic": "c", "defaultTopicQueueNums": "d", "queueId": "e",
	"sysFlag": "f", "bornTimestamp": "g", "flag": "h", "properties": "i", "reconsumeTimes": "j", "maxReconsumeTimes": "l"}

func (r *request) sendHeader() (*sendHeader, *remoting.Command) {
	_, v2 := r.cmd.Ext["b"]
	key := func(k string) string {
		if v2 {
			return sendV2[k]
		}
		return k
	}
	for _, k := range []string{"producerGroup", "topic", "queueId", "sysFlag", "bornTimestamp", "flag"} {
		if bad := r.need(key(k)); bad != nil {
			return nil, bad
		}
	}
	h := &sendHeader{group: r.str(key("producerGroup")), topic: r.str(key("topic")), defaultTopic: r.str(key("defaultTopic")),
		defaultQueues: r.int(key("defaultTopicQueueNums")), queue: r.int(key("queueId")), sysFlag: r.int(key("sysFlag")),
		flag: r.int(key("flag")), reconsumed: r.int(key("reconsumeTimes")), born: r.int64(key("bornTimestamp")),
		properties: remoting.DecodeProperties(r.str(key("properties")))}
	if h.properties == nil {
		h.properties = map[string]string{}
	}
	_, h.hasMaxReconsume = r.cmd.Ext[key("maxReconsumeTimes")]
	h.maxReconsume = r.int(key("maxReconsumeTimes"))
	return h, nil
}

// target checks what every kind of send must satisfy and settles the topic and the queue. A topic's write permission is not part of
// it: real servers leave that to the clients, which see it in the route.
func (b *broker) target(r *request, h *sendHeader) (*topicConfig, *remoting.Command) {
	if bad := r.checkTopicName(h.topic, remoting.RespSystemError); bad != nil {
		return nil, bad
	}
	if h.topic == scheduleTopic || h.topic == halfTopic || h.topic == opTopic {
		return nil, r.fail(remoting.RespNoPermission, "Sending message to topic[%s] is forbidden.", h.topic)
	}
	t := b.sendTopic(h.topic, h.defaultTopic, h.defaultQueues)
	if t == nil {
		return nil, r.fail(remoting.RespTopicNotExist, "topic[%s] not exist, apply first please!", h.topic)
	}
	if limit := max(t.Read, t.Write); h.queue >= limit {
		return nil, r.fail(remoting.RespInvalidParameter, "request queueId[%d] is illegal, topic[%s] has %d queues", h.queue, h.topic, limit)
	}
	if h.queue < 0 {
		h.queue = mrand.IntN(max(t.Write, 1))
	}
	return t, nil
}

// tooBig is the answer to a message beyond the limits of the store, nil if it fits. A body of length zero is no body on the wire, and
// real servers of version 5 stumble over it; inside a batch it is fine.
func (b *broker) tooBig(r *request, body []byte, properties string) *remoting.Command {
	if len(body) == 0 {
		return r.fail(remoting.RespSystemError, "the message has no body")
	}
	if len(body) > b.c.opts.MaxMessageSize || len(properties) > maxProperties {
		return r.fail(remoting.RespMessageIllegal, "the message is illegal, maybe msg body or properties length not matched. "+
			"msg body length limit %dB, msg properties length limit 32KB.", b.c.opts.MaxMessageSize)
	}
	return nil
}

// send serves SEND_MESSAGE and SEND_MESSAGE_V2.
func (b *broker) send(r *request) *remoting.Command {
	h, bad := r.sendHeader()
	if bad != nil {
		return bad
	}
	if r.bool("m") || r.bool("batch") {
		return b.storeBatch(r, h)
	}
	if _, bad = b.target(r, h); bad != nil {
		return bad
	}
	m := &remoting.Message{Topic: h.topic, QueueID: h.queue, Flag: int32(h.flag), SysFlag: int32(h.sysFlag), Body: r.cmd.Body,
		Properties: h.properties, BornTimestamp: h.born, BornHost: peer(r.conn), ReconsumeTimes: int32(h.reconsumed)}
	if group, ok := strings.CutPrefix(h.topic, retryPrefix); ok {
		if bad = b.retrySend(r, h, group, m); bad != nil {
			return bad
		}
	}
	if m.Properties[propUniqKey] == "" {
		m.Properties[propUniqKey] = newUniqKey()
	}
	m.Properties[propCluster] = b.c.opts.Cluster
	m.Properties[propRegion], m.Properties[propTraceOn] = region, "true"
	if m.Properties[propWait] != "" {
		delete(m.Properties, propWait)
	}
	if bad = b.tooBig(r, m.Body, remoting.EncodeProperties(m.Properties)); bad != nil {
		return bad
	}
	if m.Properties[propTran] == "true" && !(m.ReconsumeTimes > 0 && delayLevel(m) > 0) {
		return b.stored(r, m.QueueID, b.prepare(m))
	}
	queue := m.QueueID
	return b.stored(r, queue, b.put(m))
}

// retrySend redirects a send to a retry topic into the dead-letter topic when the message was retried too often, or when its
// group holds queue locks and so counts as orderly.
func (b *broker) retrySend(r *request, h *sendHeader, group string, m *remoting.Message) *remoting.Command {
	g := b.findGroup(group)
	limit := g.RetryMaxTimes
	if h.hasMaxReconsume {
		limit = h.maxReconsume
	}
	if h.reconsumed > limit || b.holdsLocks(group) {
		m.Topic, m.QueueID = dlqPrefix+group, 0
		m.Properties[propDelay] = "-1"
		b.backTopic(m.Topic, 1)
	}
	return nil
}

// put stores a message, or sets it aside if it carries a delay level.
func (b *broker) put(m *remoting.Message) *record {
	if level := delayLevel(m); level > 0 && len(b.c.opts.DelayLevels) > 0 {
		return b.delay(m, level)
	}
	return b.append(m)
}

func (b *broker) stored(r *request, queue int, recs ...*record) *remoting.Command {
	ids := make([]string, len(recs))
	for i, rec := range recs {
		ids[i] = remoting.MessageID(b.host, rec.phys)
	}
	return r.ok(map[string]string{"msgId": strings.Join(ids, ","), "queueId": strconv.Itoa(queue), "queueOffset": itoa(recs[0].offset),
		propRegion: region, propTraceOn: "true"})
}

// sendBatch serves SEND_BATCH_MESSAGE.
func (b *broker) sendBatch(r *request) *remoting.Command {
	h, bad := r.sendHeader()
	if bad != nil {
		return bad
	}
	return b.storeBatch(r, h)
}

func (b *broker) storeBatch(r *request, h *sendHeader) *remoting.Command {
	if _, bad := b.target(r, h); bad != nil {
		return bad
	}
	if strings.HasPrefix(h.topic, retryPrefix) {
		return r.fail(remoting.RespMessageIllegal, "batch request does not support retry group %s", h.topic)
	}
	if bad := b.tooBig(r, r.cmd.Body, ""); bad != nil {
		return bad
	}
	ms, err := remoting.DecodeBatch(r.cmd.Body)
	if err != nil || len(ms) == 0 {
		return r.fail(remoting.RespMessageIllegal, "batch does not decode: %v", err)
	}
	recs := make([]*record, len(ms))
	for i, m := range ms {
		m.Topic, m.QueueID, m.SysFlag, m.ReconsumeTimes = h.topic, h.queue, int32(h.sysFlag), int32(h.reconsumed)
		m.BornTimestamp, m.BornHost = h.born, peer(r.conn)
		recs[i] = b.append(m)
	}
	return b.stored(r, h.queue, recs...)
}

// newUniqKey makes an id of the length of a client's.
func newUniqKey() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	return strings.ToUpper(hex.EncodeToString(id[:]))
}
