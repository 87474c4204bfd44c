package embedmq

import (
	"encoding/json"
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

type lockKey struct {
	Topic  string `json:"topic"`
	Broker string `json:"brokerName"`
	Queue  int    `json:"queueId"`
}

type lockEntry struct {
	client string
	since  time.Time
}

type lockRequest struct {
	Group  string    `json:"consumerGroup"`
	Client string    `json:"clientId"`
	Queues []lockKey `json:"mqSet"`
}

func (b *broker) expired(l *lockEntry) bool {
	return b.c.opts.Clock.Now().Sub(l.since) > b.c.opts.LockExpiry
}

// holdsLocks tells whether anybody in the group holds a lock that has not expired.
func (b *broker) holdsLocks(group string) bool {
	for _, l := range b.locks[group] {
		if !b.expired(l) {
			return true
		}
	}
	return false
}

// lockQueues serves LOCK_BATCH_MQ. Whether the group or the queues exist is not checked.
func (b *broker) lockQueues(r *request) *remoting.Command {
	var req lockRequest
	if err := json.Unmarshal(r.cmd.Body, &req); err != nil {
		return r.fail(remoting.RespSystemError, "%v", err)
	}
	locks := b.locks[req.Group]
	if locks == nil {
		locks = map[lockKey]*lockEntry{}
		b.locks[req.Group] = locks
	}
	ok := []lockKey{}
	for _, k := range req.Queues {
		if l := locks[k]; l == nil || l.client == req.Client || b.expired(l) {
			locks[k] = &lockEntry{req.Client, b.c.opts.Clock.Now()}
			ok = append(ok, k)
		}
	}
	body, _ := json.Marshal(map[string]any{"lockOKMQSet": ok})
	return r.body(body)
}

// unlockQueues serves UNLOCK_BATCH_MQ. A client may give the name of another.
func (b *broker) unlockQueues(r *request) *remoting.Command {
	var req lockRequest
	if err := json.Unmarshal(r.cmd.Body, &req); err != nil {
		return r.fail(remoting.RespSystemError, "%v", err)
	}
	for _, k := range req.Queues {
		if l := b.locks[req.Group][k]; l != nil && l.client == req.Client {
			delete(b.locks[req.Group], k)
		}
	}
	return r.ok(nil)
}
