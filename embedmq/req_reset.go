package embedmq

import (
	"maps"
	"slices"
	"strconv"

	"github.com/go-msha/msha/internal/remoting"
)

// resetOffset serves INVOKE_BROKER_TO_RESET_OFFSET. The group's next pull of each queue is answered with the new offset; until then commits
// are ignored. What is pending is lost with the broker's process.
func (b *broker) resetOffset(r *request) *remoting.Command {
	if bad := r.need("group", "topic", "timestamp", "isForce"); bad != nil {
		return bad
	}
	topic, group := r.str("topic"), r.str("group")
	t := b.topics[topic]
	if t == nil {
		return r.fail(remoting.RespTopicNotExist, "Topic %s does not exist", topic)
	}
	if b.c.opts.ClientResets {
		return b.tellConsumers(r, group, topic, t.Write)
	}
	if b.groups[group] == nil {
		return r.fail(remoting.RespSubscriptionGroupAbsent, "Group %s does not exist", group)
	}
	to := map[remoting.Queue]int64{}
	queue := func(id int) remoting.Queue { return remoting.Queue{Topic: topic, Broker: b.name, ID: id} }
	id, err := strconv.Atoi(r.str("queueId"))
	offset, given := r.cmd.Int64("offset")
	switch {
	case err != nil || id < 0:
		for id := range t.Read {
			to[queue(id)] = b.offsetAt(topic, id, r.int64("timestamp"))
		}
	case !given || offset == -1:
		to[queue(id)] = b.offsetAt(topic, id, r.int64("timestamp"))
	default:
		q := b.queue(topic, id)
		if offset < q.min || offset > q.max()+1 {
			return r.fail(remoting.RespSystemError, "Target offset %d not in consume queue range [%d-%d]", offset, q.min, q.max())
		}
		to[queue(id)] = offset
	}
	for q, offset := range to {
		key := offsetKey{group, topic, q.ID}
		b.resets[key] = offset
		b.commit(key, offset)
	}
	return r.body(remoting.EncodeOffsetTable(to))
}

// offsetAt is the first offset stored at or after a time; the end for a negative one.
func (b *broker) offsetAt(topic string, id int, timestamp int64) int64 {
	q := b.queue(topic, id)
	if timestamp < 0 {
		return q.max()
	}
	return q.byTime(timestamp)
}

// tellConsumers is how RocketMQ 4 resets: it tells the connected clients of the group, and does nothing itself. Without force nothing is
// skipped.
func (b *broker) tellConsumers(r *request, group, topic string, queues int) *remoting.Command {
	to := map[remoting.Queue]int64{}
	for id := range queues {
		committed, known := b.offsets[offsetKey{group, topic, id}]
		if !known {
			return r.fail(remoting.RespSystemError, "THe consumer group <%s> not exist", group)
		}
		offset := b.offsetAt(topic, id, r.int64("timestamp"))
		if !r.bool("isForce") {
			offset = min(offset, committed)
		}
		to[remoting.Queue{Topic: topic, Broker: b.name, ID: id}] = offset
	}
	m := b.members[group]
	if m == nil {
		return r.fail(remoting.RespConsumerNotOnline, "Consumer not online, so can not reset offset, Group: %s Topic: %s Timestamp: %d", group, topic, r.int64("timestamp"))
	}
	body := remoting.EncodeOffsetTable(to)
	for _, id := range slices.Sorted(maps.Keys(m.clients)) {
		cmd := remoting.NewRequest(remoting.ReqResetConsumerOffset, map[string]string{"group": group, "topic": topic, "timestamp": r.str("timestamp")}, body)
		cmd.Flag |= flagOneway
		b.c.post(m.clients[id].conn, cmd)
	}
	return r.body(body)
}
