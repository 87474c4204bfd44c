package remoting

import (
	"context"
	"strconv"
	"time"
)

// offsetCall asks a broker for one number about a queue.
func (c *Cluster) offsetCall(ctx context.Context, op string, code int, q Queue, extra ...string) (int64, error) {
	ext := map[string]string{"topic": q.Topic, "queueId": strconv.Itoa(q.ID), "bname": q.Broker}
	for i := 0; i+1 < len(extra); i += 2 {
		ext[extra[i]] = extra[i+1]
	}
	op += " of " + q.String()
	resp, addr, err := c.call(ctx, op, q.Broker, NewRequest(code, ext, nil))
	if err != nil {
		return 0, err
	}
	if _, err := check(op, addr, resp, nil); err != nil {
		return 0, err
	}
	n, ok := resp.Int64("offset")
	if !ok {
		return 0, errMessage("answer to %s without an offset", op)
	}
	return n, nil
}

// MinOffset is the first offset a queue still holds.
func (c *Cluster) MinOffset(ctx context.Context, q Queue) (int64, error) {
	return c.offsetCall(ctx, "min offset", ReqGetMinOffset, q)
}

// MaxOffset is the offset the next message will get; 0 for an unknown topic, without an error, as RocketMQ answers.
func (c *Cluster) MaxOffset(ctx context.Context, q Queue) (int64, error) {
	return c.offsetCall(ctx, "max offset", ReqGetMaxOffset, q)
}

// OffsetByTime is the first offset stored at or after t.
func (c *Cluster) OffsetByTime(ctx context.Context, q Queue, t time.Time) (int64, error) {
	return c.offsetCall(ctx, "offset by time", ReqSearchOffsetByTimestamp, q, "timestamp", strconv.FormatInt(t.UnixMilli(), 10))
}

// CommittedOffset is a group's offset in a queue; ErrNotFound if it has none. (RocketMQ answers 0 instead for a queue whose messages
// are all still in memory unless told not to.)
func (c *Cluster) CommittedOffset(ctx context.Context, group string, q Queue) (int64, error) {
	return c.offsetCall(ctx, "committed offset", ReqQueryConsumerOffset, q, "consumerGroup", group, "setZeroIfNotFound", "false")
}

// Commit stores a group's offset and waits for the broker's answer.
func (c *Cluster) Commit(ctx context.Context, group string, q Queue, offset int64) error {
	ext := map[string]string{"consumerGroup": group, "topic": q.Topic, "queueId": strconv.Itoa(q.ID), "bname": q.Broker, "commitOffset": strconv.FormatInt(offset, 10)}
	op := "commit offset of " + group + " in " + q.String()
	resp, addr, err := c.call(ctx, op, q.Broker, NewRequest(ReqUpdateConsumerOffset, ext, nil))
	if err != nil {
		return err
	}
	_, err = check(op, addr, resp, nil)
	return err
}
