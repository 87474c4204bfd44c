package remoting

import (
	"context"
	"strconv"
	"time"

	"github.com/go-msha/msha"
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

// CommittedOffset is a group's offset in a queue; ErrNotFound if it has none.
func (c *Cluster) CommittedOffset(ctx context.Context, group string, q Queue) (int64, error) {
	off, err := c.offsetCall(ctx, "committed offset", ReqQueryConsumerOffset, q, "consumerGroup", group, "setZeroIfNotFound", "false")
	if err != nil || off != 0 {
		return off, err
	}
	// RocketMQ 4 makes up a 0 for a group without an offset and ignores setZeroIfNotFound.
	return 0, c.hasOffset(ctx, group, q)
}

// hasOffset asks for all offsets of a broker: nil if the group's is among them, ErrNotFound if not.
func (c *Cluster) hasOffset(ctx context.Context, group string, q Queue) error {
	op := "all committed offsets of broker " + q.Broker
	resp, addr, err := c.call(ctx, op, q.Broker, NewRequest(ReqGetAllConsumerOffset, nil, nil))
	if err == nil {
		resp, err = check(op, addr, resp, nil)
	}
	if err != nil {
		return err
	}
	var j struct {
		Table map[string]map[int]int64 `json:"offsetTable"`
	}
	if err := decodeJSON(op, resp.Body, &j); err != nil {
		return err
	}
	if _, ok := j.Table[q.Topic+"@"+group][q.ID]; !ok {
		return msha.Errorf("committed offset", group+" in "+q.String(), "", "offset %w", msha.ErrNotFound)
	}
	return nil
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
