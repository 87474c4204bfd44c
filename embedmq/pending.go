package embedmq

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

// opTopic holds the ends of transactions: offsets in the half topic's queue of the same number.
const opTopic = "RMQ_SYS_TRANS_OP_HALF_TOPIC"

// noteEnd records that the transaction of a half message has ended, as RocketMQ 5 does, but at once: a real server collects the ends of
// up to 3 s in one record.
func (b *broker) noteEnd(half *record) {
	b.append(&remoting.Message{Topic: opTopic, QueueID: half.queue, Body: []byte(itoa(half.offset) + ","),
		Properties: map[string]string{propTags: "d"}, BornTimestamp: b.c.opts.Clock.Now().UnixMilli(), BornHost: b.host})
}

// schedulePositions are what GET_BROKER_RUNTIME_INFO tells of each delay level that was used: the offset of the first message that waits or,
// if none does, of the one delivered last; and the end of its queue.
func (b *broker) schedulePositions() map[string]string {
	out := map[string]string{}
	for id, q := range b.queues[scheduleTopic] {
		if q.max() == 0 {
			continue
		}
		at := q.max() - 1
		for _, d := range b.pending {
			if d.rec.queue == id {
				at = min(at, d.rec.offset)
			}
		}
		out[fmt.Sprintf("scheduleMessageOffset_%d", id+1)] = fmt.Sprintf("%d,%d", at, q.max())
	}
	return out
}

// uptime is how brokers write for how long they have been running.
func uptime(d time.Duration) string {
	s := int64(d / time.Second)
	return fmt.Sprintf("[ %d days, %d hours, %d minutes, %d seconds ]", s/86400, s/3600%24, s/60%60, s%60)
}

// brokerConfig serves GET_BROKER_CONFIG with the few properties that mean something here.
func (b *broker) brokerConfig(r *request) *remoting.Command {
	var levels []string
	for _, d := range b.c.opts.DelayLevels {
		levels = append(levels, d.String())
	}
	return r.body([]byte("brokerName=" + b.name + "\nbrokerClusterName=" + b.c.opts.Cluster + "\nmessageDelayLevel=" + strings.Join(levels, " ") + "\n"))
}
