package embedmq

import (
	"encoding/json"
	"strconv"

	"github.com/go-msha/msha/internal/remoting"
)

type offsetKey struct {
	group, topic string
	queue        int
}

// queryOffset serves QUERY_CONSUMER_OFFSET.
func (b *broker) queryOffset(r *request) *remoting.Command {
	if bad := r.need("consumerGroup", "topic", "queueId"); bad != nil {
		return bad
	}
	key := offsetKey{r.str("consumerGroup"), r.str("topic"), r.int("queueId")}
	if off, ok := b.resets[key]; ok {
		return r.ok(map[string]string{"offset": itoa(off)})
	}
	if off, ok := b.offsets[key]; ok {
		return r.ok(map[string]string{"offset": itoa(off)})
	}
	q := b.queues[key.topic][key.queue]
	switch {
	case r.str("setZeroIfNotFound") == "false":
		return r.fail(remoting.RespQueryNotFound, "Not found, do not set to zero, maybe this group boot first")
	case q != nil && q.min == 0 && len(q.recs) > 0:
		return r.ok(map[string]string{"offset": "0"})
	}
	return r.fail(remoting.RespQueryNotFound, "Not found, V3_0_6_SNAPSHOT maybe this consumer group boot first")
}

// updateOffset serves UPDATE_CONSUMER_OFFSET.
func (b *broker) updateOffset(r *request) *remoting.Command {
	if bad := r.need("consumerGroup", "topic", "queueId", "commitOffset"); bad != nil {
		return bad
	}
	key := offsetKey{r.str("consumerGroup"), r.str("topic"), r.int("queueId")}
	if b.topics[key.topic] == nil {
		return r.fail(remoting.RespTopicNotExist, "Topic %s not exist!", key.topic)
	}
	if b.groups[key.group] == nil {
		return r.fail(remoting.RespSubscriptionGroupAbsent, "Group %s not exist!", key.group)
	}
	if _, ok := b.resets[key]; ok {
		return r.cmd.Reply(remoting.RespSuccess, "Offset has been previously reset")
	}
	b.commit(key, r.int64("commitOffset"))
	return r.ok(nil)
}

func (b *broker) commit(key offsetKey, offset int64) {
	b.offsets[key] = offset
	b.journal.keep(entryOffset, nil, append(queueFields(key.topic, key.queue, offset), "group", key.group)...)
}

// allOffsets serves GET_ALL_CONSUMER_OFFSET.
func (b *broker) allOffsets(r *request) *remoting.Command {
	table := map[string]map[string]int64{}
	for k, off := range b.offsets {
		name := k.topic + "@" + k.group
		if table[name] == nil {
			table[name] = map[string]int64{}
		}
		table[name][strconv.Itoa(k.queue)] = off
	}
	body, _ := json.Marshal(map[string]any{"dataVersion": dataVersion(len(b.offsets)), "offsetTable": table})
	return r.body(body)
}

// known is the queue a request names, an empty one if nothing was ever stored in it.
func (b *broker) known(r *request) *queue {
	if q := b.queues[r.str("topic")][r.int("queueId")]; q != nil {
		return q
	}
	return &queue{}
}

// maxOffset serves GET_MAX_OFFSET.
func (b *broker) maxOffset(r *request) *remoting.Command {
	if bad := r.need("topic", "queueId"); bad != nil {
		return bad
	}
	return r.ok(map[string]string{"offset": itoa(b.known(r).max())})
}

// minOffset serves GET_MIN_OFFSET.
func (b *broker) minOffset(r *request) *remoting.Command {
	if bad := r.need("topic", "queueId"); bad != nil {
		return bad
	}
	return r.ok(map[string]string{"offset": itoa(b.known(r).min)})
}

// searchOffset serves SEARCH_OFFSET_BY_TIMESTAMP.
func (b *broker) searchOffset(r *request) *remoting.Command {
	if bad := r.need("topic", "queueId", "timestamp"); bad != nil {
		return bad
	}
	return r.ok(map[string]string{"offset": itoa(b.known(r).byTime(r.int64("timestamp")))})
}

// viewMessage serves VIEW_MESSAGE_BY_ID.
func (b *broker) viewMessage(r *request) *remoting.Command {
	if bad := r.need("offset"); bad != nil {
		return bad
	}
	rec := b.look(r.int64("offset"))
	if rec == nil {
		return r.fail(remoting.RespSystemError, "can not find message by the offset, %d", r.int64("offset"))
	}
	return r.body(rec.enc)
}
