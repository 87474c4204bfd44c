package embedmq

import (
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

// Bits of a pull's sysFlag.
const (
	pullCommit       = 1
	pullSuspend      = 2
	pullSubscription = 4
)

// scanLimit bounds how many messages one pull looks at for its filter.
const scanLimit = 800

// pull serves PULL_MESSAGE.
func (b *broker) pull(r *request) *remoting.Command {
	if bad := r.need("consumerGroup", "topic", "queueId", "queueOffset", "maxMsgNums", "sysFlag", "commitOffset", "suspendTimeoutMillis", "subVersion"); bad != nil {
		return bad
	}
	return b.pullNow(r, true)
}

func (b *broker) pullNow(r *request, mayHold bool) *remoting.Command {
	group, topic, flags := r.str("consumerGroup"), r.str("topic"), r.int("sysFlag")
	if g := b.findGroup(group); !g.ConsumeEnable {
		return r.fail(remoting.RespNoPermission, "subscription group no permission, %s", group)
	}
	t := b.topics[topic]
	if t == nil {
		return r.fail(remoting.RespTopicNotExist, "topic[%s] not exist, apply first please!", topic)
	}
	if t.Perm&permRead == 0 {
		return r.fail(remoting.RespNoPermission, "the topic[%s] pulling message is forbidden", topic)
	}
	id := r.int("queueId")
	if id < 0 || id >= t.Read {
		return r.fail(remoting.RespInvalidParameter, "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[%s]",
			id, topic, t.Read, r.conn.RemoteAddr())
	}
	filter, bad := b.pullFilter(r, group, topic, flags)
	if bad != nil {
		return bad
	}
	q := b.queue(topic, id)
	offset := r.int64("queueOffset")
	code, next, recs := q.read(offset, filter, b.pullLimits(r))
	remark, key := "", offsetKey{group, topic, id}
	if to, reset := b.resets[key]; reset {
		delete(b.resets, key)
		code, next, recs, remark = remoting.RespPullOffsetMoved, to, nil, "OFFSET_RESET"
	}
	if flags&pullCommit != 0 && mayHold {
		b.commit(key, r.int64("commitOffset"))
	}
	if code == remoting.RespPullNotFound && mayHold && flags&pullSuspend != 0 && !r.cmd.IsOneway() {
		b.hold(r, q, offset, filter, time.Duration(r.int64("suspendTimeoutMillis"))*time.Millisecond)
		return nil
	}
	answer := r.cmd.Reply(code, remark)
	answer.Ext = map[string]string{"suggestWhichBrokerId": "0", "nextBeginOffset": itoa(next), "minOffset": itoa(q.min),
		"maxOffset": itoa(q.max()), "topicSysFlag": strconv.Itoa(t.SysFlag), "groupSysFlag": "0"}
	for _, rec := range recs {
		answer.Body = append(answer.Body, rec.enc...)
	}
	return answer
}

// pullFilter is the filter the pull brings or the one of its group's heartbeat.
func (b *broker) pullFilter(r *request, group, topic string, flags int) (messageFilter, *remoting.Command) {
	kind, expression := r.str("expressionType"), r.str("subscription")
	var f messageFilter
	var bad *remoting.Command
	if flags&pullSubscription == 0 {
		kind, f, bad = b.heartbeatFilter(r, group, topic)
	} else {
		f, bad = broughtFilter(r, kind, expression)
	}
	if bad == nil && !isTag(kind) && !b.c.opts.PropertyFilter {
		bad = errSQL(r, kind)
	}
	return f, bad
}

// heartbeatFilter is the filter that the group's heartbeats gave.
func (b *broker) heartbeatFilter(r *request, group, topic string) (kind string, f messageFilter, bad *remoting.Command) {
	g := b.members[group]
	if g == nil {
		return "", nil, r.fail(remoting.RespSubscriptionNotExist, "the consumer's group info not exist")
	}
	s, ok := g.subs[topic]
	if !ok {
		return "", nil, r.fail(remoting.RespSubscriptionNotExist, "the consumer's subscription not exist")
	}
	if s.SubVersion < r.int64("subVersion") {
		return "", nil, r.fail(remoting.RespSubscriptionNotLatest, "the consumer's subscription not latest")
	}
	if isTag(s.ExpressionType) {
		return s.ExpressionType, parseTags(s.SubString), nil
	}
	sql, err := compileSQL(s.SubString)
	if err != nil || s.ExpressionType != remoting.SQL92 {
		return "", nil, r.fail(remoting.RespFilterDataNotExist, "The broker's consumer filter data is not exist!Your expression may be wrong!")
	}
	return s.ExpressionType, sql, nil
}

// broughtFilter is the filter in a pull. A real broker does not look whether it could read an expression: what it could not read filters
// nothing.
func broughtFilter(r *request, kind, expression string) (messageFilter, *remoting.Command) {
	switch {
	case isTag(kind) && expression != "" && expression != "*" && strings.Trim(expression, "| ") == "", !isTag(kind) && expression == "":
		return nil, r.fail(remoting.RespSubscriptionParseFailed, "parse the consumer's subscription failed")
	case isTag(kind):
		return parseTags(expression), nil
	}
	if sql, err := compileSQL(expression); err == nil && kind == remoting.SQL92 {
		return sql, nil
	}
	return tagFilter{all: true}, nil
}

func isTag(kind string) bool { return kind == "" || kind == "TAG" }

func errSQL(r *request, kind string) *remoting.Command {
	return r.fail(remoting.RespSystemError, "The broker does not support consumer to filter message by %s", kind)
}

type pullLimits struct{ count, bytes int }

func (b *broker) pullLimits(r *request) pullLimits {
	l := pullLimits{min(r.int("maxMsgNums"), b.c.opts.MaxPullMessages), b.c.opts.MaxPullBytes}
	if n := r.int("maxMsgBytes"); n > 0 {
		l.bytes = min(n, l.bytes)
	}
	return l
}

// read gives what a pull from offset gets: the code of the answer, the next offset and the messages. At least one message is
// given whatever the limits.
func (q *queue) read(offset int64, f messageFilter, l pullLimits) (code int, next int64, recs []*record) {
	switch {
	case q.max() == 0 && offset == 0, offset == q.max():
		return remoting.RespPullNotFound, offset, nil
	case q.max() == 0:
		return remoting.RespPullOffsetMoved, 0, nil
	case offset < q.min:
		return remoting.RespPullOffsetMoved, q.min, nil
	case offset > q.max():
		return remoting.RespPullOffsetMoved, q.max(), nil
	}
	size := 0
	for n := 0; offset < q.max() && n < scanLimit; n++ {
		rec := q.recs[offset-q.min]
		if f.match(rec) {
			if len(recs) > 0 && (len(recs) >= l.count || size+len(rec.enc) > l.bytes) {
				break
			}
			recs = append(recs, rec)
			size += len(rec.enc)
		}
		offset++
	}
	if len(recs) == 0 {
		return remoting.RespPullRetryImmediately, offset, nil
	}
	return remoting.RespSuccess, offset, recs
}
