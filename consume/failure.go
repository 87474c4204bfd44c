package consume

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"time"

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
	if it.meta.Legacy {
		e.failLegacy(it, level)
		return
	}
	attempt := it.raw.ReconsumeTimes + 1
	e.mu.Lock()
	e.stats.Failed++
	// A copy that could not be sent leaves a message whose own count knows nothing of the attempt.
	attempt = max(attempt, int32(e.tracker.Attempts(it.key, it.meta.Origin))+1)
	e.mu.Unlock()
	if attempt > e.set.retries() || level < 0 {
		e.deadLetter(it)
		return
	}
	broker := it.h.queue.Broker
	e.mu.Lock()
	open := e.tracker.Fail(it.meta, it.key, int(attempt), remoting.MessageID(it.raw.StoreHost, it.raw.CommitLogOffset), it.id())
	e.mu.Unlock()
	if e.insist(e.ctx, broker, open) != nil {
		e.abandon(it)
		return
	}
	sent := e.sendRetry(e.ctx, it, open.Number, attempt, delayLevel(level, attempt))
	var next filter.Record
	if sent == nil { // if its broker goes away now, it may lose the copy: then Void ends the number, unless this is stored all the same
		_, sent = e.appendLog(e.ctx, broker, filter.SentOf(open))
		next = filter.VoidOf(open)
	} else { // it may be stored all the same; then its number is closed and it is refused
		e.cfg.Logger.Warn("retry copy not sent, message stays with its unit", "id", it.id(), "error", sent)
		next = filter.CloseOf(open)
		pause(e.ctx, min(time.Duration(attempt)*retryInterval, lastBackoff))
	}
	if sent != nil && e.insist(e.ctx, broker, filter.NotSent(next, it.meta.Retry)...) != nil {
		e.abandon(it)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tracker.Failed(it.meta, it.key)
	e.leave(it)
}

// delayLevel is the handler's choice, or the usual one: 10 s for the first retry with RocketMQ's default levels, then longer.
func delayLevel(chosen int, attempt int32) int {
	if chosen > 0 {
		return chosen
	}
	return firstDelayLevel + int(attempt) - 1
}

// failLegacy treats a retry copy from before the group was managed as client-go does; it has no facts.
func (e *Engine) failLegacy(it *item, level int) {
	attempt := it.raw.ReconsumeTimes + 1
	e.mu.Lock()
	e.stats.Failed++
	e.mu.Unlock()
	if attempt > e.set.retries() || level < 0 {
		e.deadLetter(it)
		return
	}
	e.sendLegacy(it, attempt, delayLevel(level, attempt))
}

// postponeLevel is the delay level of what waits for a subscription: 10 min with RocketMQ's default levels.
const postponeLevel = 14

// postpone sends a retry copy again that nobody here has a handler for. It has no facts, so it is all that will ever bring its message back.
func (e *Engine) postpone(it *item) {
	e.cfg.Logger.Warn("retry copy of a topic that is not subscribed sent again", "topic", it.topic, "id", it.id())
	e.sendLegacy(it, it.raw.ReconsumeTimes, postponeLevel)
}

// sendLegacy insists until the broker takes a copy, then acknowledges the one it stands for.
func (e *Engine) sendLegacy(it *item, attempt int32, level int) {
	for backoff := retryInterval; ; backoff = min(2*backoff, lastBackoff) {
		err := e.sendRetry(e.ctx, it, "", attempt, level)
		if err == nil {
			break
		}
		if e.ctx.Err() != nil {
			e.abandon(it)
			return
		}
		e.cfg.Logger.Warn("retry copy not sent, trying again", "id", it.id(), "error", err)
		pause(e.ctx, backoff)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leave(it)
}

func (e *Engine) sendRetry(ctx context.Context, it *item, number string, attempt int32, level int) error {
	ctx, cancel := context.WithTimeout(ctx, e.limits.call)
	defer cancel()
	m := e.retryCopy(it, number, attempt, level)
	_, err := e.cfg.Cluster.Send(ctx, remoting.Queue{Topic: e.retry, Broker: it.h.queue.Broker}, e.set.group, m)
	if errors.Is(err, remoting.ErrStored) {
		return nil
	}
	return err
}

func (e *Engine) retryCopy(it *item, number string, attempt int32, level int) *remoting.Message {
	m := e.plainCopy(it, e.retry)
	m.ReconsumeTimes = attempt
	m.Properties[primitive.PropertyRetryTopic] = it.topic
	m.Properties[primitive.PropertyDelayTimeLevel] = strconv.Itoa(level)
	if m.Properties[primitive.PropertyOriginMessageId] == "" {
		m.Properties[primitive.PropertyOriginMessageId] = remoting.MessageID(it.raw.StoreHost, it.raw.CommitLogOffset)
	}
	if len(m.Body) == 0 { // RocketMQ 5 refuses an empty body, and a batch in a retry topic
		m.Body = []byte{0}
		m.Properties[msha.PropertyEmpty] = "true"
	}
	if !it.meta.Legacy {
		m.Properties[msha.PropertyOrigin] = it.meta.Origin.Encode()
		m.Properties[msha.PropertyRetry] = number
		m.Properties[msha.PropertyUnit] = it.meta.Unit
	}
	return m
}

// deadLetter stores a message in the group's dead-letter topic and counts it as done; it insists until the broker takes it.
func (e *Engine) deadLetter(it *item) {
	topic := "%DLQ%" + e.set.group
	m := e.plainCopy(it, topic)
	m.Properties[primitive.PropertyRetryTopic] = it.topic
	for backoff := retryInterval; ; backoff = min(2*backoff, lastBackoff) {
		err := e.sendDead(it, topic, m)
		if err == nil {
			break
		}
		if e.ctx.Err() != nil {
			e.abandon(it)
			return
		}
		if errors.Is(err, msha.ErrTooLarge) { // only what was added can have made it so
			for _, name := range []string{primitive.PropertyRetryTopic, primitive.PropertyOriginMessageId, msha.PropertyOrigin, msha.PropertyRetry, msha.PropertyUnit} {
				delete(m.Properties, name)
			}
		}
		e.cfg.Logger.Warn("message not dead-lettered, trying again", "id", it.id(), "error", err)
		pause(e.ctx, backoff)
	}
	e.cfg.Logger.Error("message dead-lettered", "id", it.id(), "topic", topic, "attempts", it.raw.ReconsumeTimes+1)
	it.dead = true
	if it.meta.Retry != "" {
		e.finishRetry(it)
		return
	}
	e.finish(it)
}

func (e *Engine) sendDead(it *item, topic string, m *remoting.Message) error {
	ctx, cancel := context.WithTimeout(e.ctx, e.limits.call)
	defer cancel()
	q := remoting.Queue{Topic: topic, Broker: it.h.queue.Broker}
	var err error
	if len(m.Body) > 0 {
		_, err = e.cfg.Cluster.Send(ctx, q, e.set.group, m)
	} else { // see retryCopy
		_, err = e.cfg.Cluster.SendBatch(ctx, q, e.set.group, []*remoting.Message{m})
	}
	if errors.Is(err, remoting.ErrStored) {
		return nil
	}
	if errors.Is(err, msha.ErrNotFound) {
		addr, aerr := e.cfg.Cluster.MasterAddr(ctx, "", it.h.queue.Broker)
		if aerr == nil {
			aerr = e.cfg.Cluster.CreateTopic(ctx, addr, remoting.TopicConfig{Name: topic, Read: 1, Write: 1})
		}
		err = errors.Join(err, aerr)
	}
	return err
}

// plainCopy is a message as it is, without what would make the broker treat it as something else.
func (e *Engine) plainCopy(it *item, topic string) *remoting.Message {
	props := maps.Clone(it.raw.Properties)
	for _, name := range []string{"MIN_OFFSET", "MAX_OFFSET", "TRAN_MSG", primitive.PropertyDelayTimeLevel} {
		delete(props, name)
	}
	body := it.raw.Body
	if props[msha.PropertyEmpty] != "" {
		body = nil
		delete(props, msha.PropertyEmpty)
	}
	return &remoting.Message{Topic: topic, Body: body, Flag: it.raw.Flag, SysFlag: it.raw.SysFlag & (remoting.SysCompressed | remoting.SysCompressionMask),
		Properties: props, BornTimestamp: it.raw.BornTimestamp}
}
