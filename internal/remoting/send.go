package remoting

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// SendResult is where a message was stored.
type SendResult struct {
	OffsetMsgID string
	QueueOffset int64 // of the first message of a batch
	Queue       Queue
}

// defaultMaxReconsumeTimes is what a send header carries unless the message is a retry with its own limit.
const defaultMaxReconsumeTimes = 16

// Send stores one message in a queue, with its Flag, SysFlag, BornTimestamp (0: now), ReconsumeTimes and properties as given. With
// ErrStored the result is valid too. ErrDropped and a deadline leave open whether the message was stored.
func (c *Cluster) Send(ctx context.Context, q Queue, group string, m *Message) (*SendResult, error) {
	return c.send(ctx, "send", ReqSendMessageV2, q, sendHeader(q, group, m, EncodeProperties(m.Properties), false), m.Body)
}

// SendBatch stores messages in one queue, in order and as one unit; see Send. Compression flags are not part of a batch item, so
// messages with one need Send. Properties of the envelope are left empty.
func (c *Cluster) SendBatch(ctx context.Context, q Queue, group string, ms []*Message) (*SendResult, error) {
	size := 0
	for _, m := range ms {
		size += len(m.Body) + 256
	}
	body := make([]byte, 0, size)
	for i, m := range ms {
		if n := propertiesSize(m.Properties); n > MaxProperties {
			return nil, fmt.Errorf("send batch %s: properties of message %d %w: %d bytes, the limit is %d", q, i, msha.ErrTooLarge, n, MaxProperties)
		}
		body = AppendBatchItem(body, m)
	}
	envelope := &Message{}
	if len(ms) > 0 {
		envelope.BornTimestamp = ms[0].BornTimestamp
	}
	return c.send(ctx, "send batch", ReqSendBatchMessage, q, sendHeader(q, group, envelope, "", true), body)
}

// SendEncoded is SendBatch of messages that are encoded while the request is written: encode appends them as AppendBatchItem does. It
// may be called again, and must not block. born is the time the first message was born.
func (c *Cluster) SendEncoded(ctx context.Context, q Queue, group string, born int64, encode func(dst []byte) []byte) (*SendResult, error) {
	req := NewRequest(ReqSendBatchMessage, sendHeader(q, group, &Message{BornTimestamp: born}, "", true), nil)
	req.appendBody = encode
	return c.sendRequest(ctx, "send batch", q, req)
}

// sendHeader is the compact header of SEND_MESSAGE_V2.
func sendHeader(q Queue, group string, m *Message, props string, batch bool) map[string]string {
	born := m.BornTimestamp
	if born == 0 {
		born = time.Now().UnixMilli()
	}
	maxTimes := defaultMaxReconsumeTimes
	if strings.HasPrefix(q.Topic, "%RETRY%") {
		maxTimes = math.MaxInt32 // who sends there counts attempts himself; the broker would dead-letter the message behind his back
	}
	if n, err := strconv.Atoi(m.Properties["MAX_RECONSUME_TIMES"]); err == nil {
		maxTimes = n
	}
	return map[string]string{
		"a": group, "b": q.Topic, "c": "TBW102", "d": "4", "e": strconv.Itoa(q.ID),
		"f": strconv.Itoa(int(m.SysFlag)), "g": strconv.FormatInt(born, 10), "h": strconv.Itoa(int(m.Flag)), "i": props,
		"j": strconv.Itoa(int(m.ReconsumeTimes)), "k": "false", "l": strconv.Itoa(maxTimes), "m": strconv.FormatBool(batch), "n": q.Broker,
	}
}

func (c *Cluster) send(ctx context.Context, op string, code int, q Queue, ext map[string]string, body []byte) (*SendResult, error) {
	return c.sendRequest(ctx, op, q, NewRequest(code, ext, body))
}

func (c *Cluster) sendRequest(ctx context.Context, op string, q Queue, req *Command) (*SendResult, error) {
	resp, addr, err := c.call(ctx, op+" "+q.String(), q.Broker, req)
	if err != nil {
		return nil, err
	}
	resp, err = check(op+" "+q.String(), addr, resp, nil)
	off, ok := resp.Int64("queueOffset")
	if !ok {
		if err == nil {
			err = errMessage("answer of %s without queueOffset", op)
		}
		return nil, err
	}
	res := &SendResult{OffsetMsgID: resp.Ext["msgId"], QueueOffset: off, Queue: q}
	if id, ok := resp.Int64("queueId"); ok {
		res.Queue.ID = int(id)
	}
	return res, err
}
