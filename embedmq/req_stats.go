package embedmq

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-msha/msha/internal/remoting"
)

// queueKey is a queue as brokers write it when it is the key of a map: an object.
func (b *broker) queueKey(topic string, id int) string {
	return fmt.Sprintf(`{"brokerName":%q,"queueId":%d,"topic":%q}`, b.name, id, topic)
}

// consumeStats serves GET_CONSUME_STATS.
func (b *broker) consumeStats(r *request) *remoting.Command {
	if bad := r.need("consumerGroup"); bad != nil {
		return bad
	}
	group := r.str("consumerGroup")
	topics := map[string]bool{}
	if t := r.str("topic"); t != "" {
		topics[t] = true
	} else {
		for k := range b.offsets {
			if k.group == group {
				topics[k.topic] = true
			}
		}
	}
	var rows []string
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		t := b.topics[topic]
		if t == nil {
			continue
		}
		for id := range t.Read {
			q := b.queues[topic][id]
			if q == nil {
				q = &queue{}
			}
			consumed := b.offsets[offsetKey{group, topic, id}]
			var last int64
			if i := consumed - 1 - q.min; i >= 0 && i < int64(len(q.recs)) {
				last = q.recs[i].stored
			}
			rows = append(rows, fmt.Sprintf(`%s:{"brokerOffset":%d,"consumerOffset":%d,"lastTimestamp":%d,"pullOffset":%d}`,
				b.queueKey(topic, id), q.max(), consumed, last, consumed))
		}
	}
	return r.body([]byte(`{"consumeTps":0.0,"offsetTable":{` + strings.Join(rows, ",") + `}}`))
}

// topicStats serves GET_TOPIC_STATS_INFO.
func (b *broker) topicStats(r *request) *remoting.Command {
	if bad := r.need("topic"); bad != nil {
		return bad
	}
	topic := r.str("topic")
	t := b.topics[topic]
	if t == nil {
		return r.fail(remoting.RespTopicNotExist, "topic[%s] not exist", topic)
	}
	var rows []string
	for id := range t.Write {
		q := b.queues[topic][id]
		if q == nil {
			q = &queue{}
		}
		var last int64
		if n := len(q.recs); n > 0 {
			last = q.recs[n-1].stored
		}
		rows = append(rows, fmt.Sprintf(`%s:{"lastUpdateTimestamp":%d,"maxOffset":%d,"minOffset":%d}`, b.queueKey(topic, id), last, q.max(), q.min))
	}
	return r.body([]byte(`{"offsetTable":{` + strings.Join(rows, ",") + `}}`))
}

// runtimeInfo serves GET_BROKER_RUNTIME_INFO with the few values that make sense in memory.
func (b *broker) runtimeInfo(r *request) *remoting.Command {
	table := map[string]string{
		"brokerVersionDesc":        "embedded",
		"brokerActive":             "true",
		"commitLogMaxOffset":       itoa(b.nextPhys),
		"commitLogMinOffset":       "0",
		"msgPutTotalTodayNow":      itoa(int64(len(b.log))),
		"pageCacheLockTimeMills":   "0",
		"sendThreadPoolQueueSize":  "0",
		"pullThreadPoolQueueSize":  "0",
		"dispatchBehindBytes":      "0",
		"remainTransientStoreNumb": "2147483647",
		"bootTimestamp":            itoa(b.began.UnixMilli()),
		"runtime":                  uptime(b.c.opts.Clock.Now().Sub(b.began)),
		"timerCongestNum":          "0",
		"timerOffsetBehind":        "0",
	}
	maps.Copy(table, b.schedulePositions())
	body, _ := json.Marshal(map[string]any{"table": table})
	return r.body(body)
}
