package consume

import (
	"context"
	"errors"
	"maps"
	"strconv"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// firstDelayLevel is the delay level of the first retry: 10 s with RocketMQ's default levels.
const firstDelayLevel = 3

// fail sends a message to its retry topic: Open into the log, the copy, Sent into the log; only then is the message acknowledged. level
// is the handler's own choice of delay, 0 for the usual one, -1 for the dead-letter topic.
func (e *Engine) fail(it *item, level int) {
	attempt := it.raw.ReconsumeTimes + 1
	if attempt > e.set.maxAttempts || attempt >= 16 || level < 0 {
		e.deadLetter(it)
		return
	}
	if level == 0 {
		level = firstDelayLevel + int(it.raw.ReconsumeTimes)
	}
	broker := it.h.queue.Broker
	var open filter.Record
	if !it.meta.Legacy {
		e.mu.Lock()
		open = e.tracker.Fail(it.meta, it.key, int(attempt), it.msg.OffsetMsgId, it.msg.MsgId)
		e.mu.Unlock()
		if e.insist(e.ctx, broker, open) != nil {
			e.abandon(it)
			return
		}
	}
	sent := e.sendRetry(e.ctx, it, open.Number, attempt, level)
	if it.meta.Legacy {
		if sent != nil {
			e.again(it)
			return
		}
		e.left(it)
		return
	}
	next := filter.SentOf(open)
	if sent != nil { // it may be stored all the same; then its number is closed and it is refused
		e.cfg.Logger.Warn("retry copy not sent, message stays with its unit", "id", it.msg.MsgId, "error", sent)
		next = filter.CloseOf(open)
	}
	if e.insist(e.ctx, broker, next) != nil {
		e.abandon(it)
		return
	}
	e.mu.Lock()
	e.tracker.Apply(broker, next)
	e.mu.Unlock()
	e.left(it)
	if sent != nil {
		e.pause(retryInterval)
		e.poke(e.scan)
	}
}

// left records that the message waits elsewhere now.
func (e *Engine) left(it *item) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tracker.Failed(it.meta, it.key)
	e.leave(it)
}

// again puts a legacy retry copy back into the line.
func (e *Engine) again(it *item) {
	e.pause(retryInterval)
	e.mu.Lock()
	defer e.mu.Unlock()
	it.h.running--
	e.running--
	e.enqueue(it)
}

func (e *Engine) sendRetry(ctx context.Context, it *item, number string, attempt int32, level int) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m := e.retryCopy(it, number, attempt, level)
	_, err := e.cfg.Cluster.Send(ctx, remoting.Queue{Topic: e.retry, Broker: it.h.queue.Broker}, e.set.group, m)
	if errors.Is(err, remoting.ErrStored) {
		return nil
	}
	return err
}

func (e *Engine) retryCopy(it *item, number string, attempt int32, level int) *remoting.Message {
	props := maps.Clone(it.raw.Properties)
	delete(props, "MIN_OFFSET")
	delete(props, "MAX_OFFSET")
	delete(props, "TRAN_MSG")
	props[primitive.PropertyRetryTopic] = it.msg.Topic
	props[primitive.PropertyDelayTimeLevel] = strconv.Itoa(level)
	if props[primitive.PropertyOriginMessageId] == "" {
		props[primitive.PropertyOriginMessageId] = it.msg.OffsetMsgId
	}
	if !it.meta.Legacy {
		props[msha.PropertyOrigin] = it.meta.Origin.Encode()
		props[msha.PropertyRetry] = number
		props[msha.PropertyUnit] = it.meta.Unit
	}
	return &remoting.Message{
		Topic: e.retry, Body: it.raw.Body, Flag: it.raw.Flag, SysFlag: it.raw.SysFlag & (remoting.SysCompressed | remoting.SysCompressionMask),
		Properties: props, BornTimestamp: it.raw.BornTimestamp, ReconsumeTimes: attempt,
	}
}

// deadLetter stores a message in the group's dead-letter topic and counts it as done; it insists until the broker takes it.
func (e *Engine) deadLetter(it *item) {
	topic := "%DLQ%" + e.set.group
	props := maps.Clone(it.raw.Properties)
	for _, name := range []string{"MIN_OFFSET", "MAX_OFFSET", "TRAN_MSG", primitive.PropertyDelayTimeLevel} {
		delete(props, name)
	}
	props[primitive.PropertyRetryTopic] = it.msg.Topic
	m := &remoting.Message{Topic: topic, Body: it.raw.Body, Flag: it.raw.Flag, SysFlag: it.raw.SysFlag & (remoting.SysCompressed | remoting.SysCompressionMask),
		Properties: props, BornTimestamp: it.raw.BornTimestamp}
	for e.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(e.ctx, callTimeout)
		_, err := e.cfg.Cluster.Send(ctx, remoting.Queue{Topic: topic, Broker: it.h.queue.Broker}, e.set.group, m)
		if errors.Is(err, msha.ErrNotFound) {
			if addr, aerr := e.cfg.Cluster.MasterAddr(ctx, "", it.h.queue.Broker); aerr == nil {
				err = errors.Join(err, e.cfg.Cluster.CreateTopic(ctx, addr, remoting.TopicConfig{Name: topic, Read: 1, Write: 1}))
			}
		}
		cancel()
		if err == nil || errors.Is(err, remoting.ErrStored) {
			e.cfg.Logger.Error("message dead-lettered", "id", it.msg.MsgId, "topic", topic, "attempts", it.raw.ReconsumeTimes+1)
			e.finish(it)
			return
		}
		e.cfg.Logger.Warn("message not dead-lettered, trying again", "id", it.msg.MsgId, "error", err)
		e.pause(retryInterval)
	}
	e.abandon(it)
}
