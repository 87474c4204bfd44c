package remoting

import (
	"context"
	"strconv"
	"time"
)

// PullRequest asks for messages of one queue.
type PullRequest struct {
	Queue          Queue
	Group          string
	Offset         int64
	Max            int           // 0: 32
	MaxBytes       int           // 0: the broker's limit
	Suspend        time.Duration // how long the broker may wait for a message; 0: not at all
	CommitOffset   int64         // stored as the group's offset if above 0
	SubExpression  string        // "": everything
	ExpressionType string        // "": TAG
	SubVersion     int64
	FromHeartbeat  bool // use the subscription the group's heartbeats gave, instead of the one in this request
	Resets         bool // answer PullReset where an operator moved the group's offset; otherwise the pull goes on as if nobody had
}

// PullStatus says what a pull found.
type PullStatus int

// The outcomes of a pull.
const (
	PullFound         PullStatus = iota
	PullNoNew                    // the offset is the end of the queue
	PullNoMatched                // messages from Offset up to NextOffset were filtered out
	PullOffsetIllegal            // Offset is below the minimum or above the maximum; NextOffset is the nearest legal one
	PullReset                    // an operator moved the group's offset to NextOffset; told once (RocketMQ 5)
)

// resetRemark tells an operator's reset from an offset that is not there: both have one code.
const resetRemark = "OFFSET_RESET"

// PullResult is the answer to a pull.
type PullResult struct {
	Status                           PullStatus
	NextOffset, MinOffset, MaxOffset int64
	Messages                         []*Message // ascending; tag filters work by hash, so check tags again
	Records                          []Record   // of PullRecords, instead of Messages
}

// pullSlack is how much longer than Suspend the answer may take.
const pullSlack = 10 * time.Second

// Pull asks the queue's master. Ending ctx ends the wait at once.
func (c *Cluster) Pull(ctx context.Context, p PullRequest) (*PullResult, error) {
	res, body, err := c.pull(ctx, p)
	if err == nil {
		res.Messages, err = DecodeMessages(body)
	}
	return res, err
}

// PullRecords is Pull for who passes the messages on.
func (c *Cluster) PullRecords(ctx context.Context, p PullRequest) (*PullResult, error) {
	res, body, err := c.pull(ctx, p)
	if err == nil {
		res.Records, err = DecodeRecords(body)
	}
	return res, err
}

func (c *Cluster) pull(ctx context.Context, p PullRequest) (res *PullResult, found []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.Suspend+pullSlack)
	defer cancel()
	op := "pull " + p.Queue.String()
	resp, addr, err := c.call(ctx, op, p.Queue.Broker, NewRequest(ReqPullMessage, pullHeader(p), nil))
	if err == nil && !p.Resets && isReset(resp) { // it is told once
		resp, addr, err = c.call(ctx, op, p.Queue.Broker, NewRequest(ReqPullMessage, pullHeader(p), nil))
	}
	if err != nil {
		return nil, nil, err
	}
	res = &PullResult{}
	res.NextOffset, _ = resp.Int64("nextBeginOffset")
	res.MinOffset, _ = resp.Int64("minOffset")
	res.MaxOffset, _ = resp.Int64("maxOffset")
	switch resp.Code {
	case RespSuccess:
		res.Status = PullFound
		return res, resp.Body, nil
	case RespPullNotFound:
		res.Status = PullNoNew
	case RespPullRetryImmediately:
		res.Status = PullNoMatched
	case RespPullOffsetMoved:
		res.Status = PullOffsetIllegal
		if isReset(resp) {
			res.Status = PullReset
		}
	default:
		_, err = check(op, addr, resp, nil)
		return nil, nil, err
	}
	return res, nil, nil
}

func isReset(resp *Command) bool {
	return resp.Code == RespPullOffsetMoved && resp.Remark == resetRemark
}

func pullHeader(p PullRequest) map[string]string {
	const commitBit, suspendBit, subscriptionBit = 1, 2, 4
	flag := 0
	if p.CommitOffset > 0 {
		flag |= commitBit
	}
	if p.Suspend > 0 {
		flag |= suspendBit
	}
	if !p.FromHeartbeat {
		flag |= subscriptionBit
	}
	maxCount := p.Max
	if maxCount <= 0 {
		maxCount = 32
	}
	expression, kind := p.SubExpression, p.ExpressionType
	if expression == "" {
		expression = "*"
	}
	if kind == "" {
		kind = "TAG"
	}
	ext := map[string]string{
		"consumerGroup": p.Group, "topic": p.Queue.Topic, "queueId": strconv.Itoa(p.Queue.ID), "bname": p.Queue.Broker,
		"queueOffset": strconv.FormatInt(p.Offset, 10), "maxMsgNums": strconv.Itoa(maxCount), "sysFlag": strconv.Itoa(flag),
		"commitOffset": strconv.FormatInt(max(p.CommitOffset, 0), 10), "suspendTimeoutMillis": strconv.FormatInt(p.Suspend.Milliseconds(), 10),
		"subscription": expression, "subVersion": strconv.FormatInt(p.SubVersion, 10), "expressionType": kind,
	}
	if p.MaxBytes > 0 {
		ext["maxMsgBytes"] = strconv.Itoa(p.MaxBytes)
	}
	return ext
}

// ViewMessage reads one message by its position in a broker's commit log. ErrNotFound if it expired.
func (c *Cluster) ViewMessage(ctx context.Context, addr string, commitLogOffset int64) (*Message, error) {
	req := NewRequest(ReqViewMessageByID, map[string]string{"offset": strconv.FormatInt(commitLogOffset, 10)}, nil)
	resp, err := c.callAddr(ctx, "view message", addr, req)
	if err != nil {
		return nil, err
	}
	ms, err := DecodeMessages(resp.Body)
	if err != nil {
		return nil, err
	}
	if len(ms) != 1 {
		return nil, errMessage("%d messages for one id", len(ms))
	}
	return ms[0], nil
}
