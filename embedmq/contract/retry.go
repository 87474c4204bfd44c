package contract

import (
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

// back gives a message back.
func (e *env) back(m *remoting.Message, g string, level, limit int) *remoting.Command {
	e.Helper()
	h := ext("offset", m.CommitLogOffset, "group", g, "delayLevel", level, "originMsgId", "", "originTopic", m.Topic, "unitMode", false)
	if limit > 0 {
		h["maxReconsumeTimes"] = strconv.Itoa(limit)
	}
	return e.call(remoting.ReqConsumerSendMsgBack, h, nil)
}

func (e *env) retryQueue(g, prefix string) remoting.Queue {
	return remoting.Queue{Topic: prefix + g, Broker: e.Broker}
}

// newGroup makes a group whose retry topic exists.
func (e *env) newGroup() string {
	e.Helper()
	g := e.name("group")
	e.prime(g)
	return g
}

// prime makes a group's retry topic known before a consumer starts, so that it need not wait for its next look at the routes.
func (e *env) prime(g string) {
	e.Helper()
	e.must(e.cl.Heartbeat(e.ctx, e.Addr(), consumerOf("primer", g, "%RETRY%"+g, "*", 1)))
	e.must(e.cl.Unregister(e.ctx, e.Addr(), "primer", g))
	e.queues("%RETRY%"+g, 1)
}

func sendBack(e *env) {
	topic, qs := e.topic(1)
	g := e.newGroup()
	res, err := e.cl.Send(e.ctx, qs[0], "producers", &remoting.Message{Body: []byte("x"), Flag: 3,
		Properties: map[string]string{"TAGS": "a", "UNIQ_KEY": "U", "mine": "1"}})
	e.must(err)
	first := e.all(qs[0], 0, 1)[0]
	start := time.Now()
	e.want("send back", e.back(first, g, 0, 0), 0)
	m := e.all(e.retryQueue(g, "%RETRY%"), 0, 1)[0]
	if took := time.Since(start); took < 900*time.Millisecond {
		e.Fatalf("came back after %v, the third level is 1 s", took)
	}
	equal(e, "times", m.ReconsumeTimes, 1)
	equal(e, "body", string(m.Body), "x")
	equal(e, "flag", m.Flag, 3)
	e.properties("properties", m, "TAGS", "a", "UNIQ_KEY", "U", "mine", 1, "RETRY_TOPIC", topic, "WAIT", false, "ORIGIN_MESSAGE_ID", res.OffsetMsgID,
		"DELAY", 3, "REAL_TOPIC", "%RETRY%"+g, "REAL_QID", 0)
	equal(e, "born", m.BornTimestamp, first.BornTimestamp)
	e.want("again", e.back(m, g, 1, 0), 0)
	again := e.all(e.retryQueue(g, "%RETRY%"), 1, 1)[0]
	equal(e, "times", again.ReconsumeTimes, 2)
	equal(e, "first message's id", again.Properties["ORIGIN_MESSAGE_ID"], res.OffsetMsgID)
	equal(e, "first message's topic", again.Properties["RETRY_TOPIC"], topic)
	e.want("too often", e.back(again, g, 1, 2), 0)
	dead := e.all(e.retryQueue(g, "%DLQ%"), 0, 1)[0]
	equal(e, "body", string(dead.Body), "x")
	equal(e, "times", dead.ReconsumeTimes, 3)
	e.want("level -1", e.back(first, g, -1, 0), 0)
	equal(e, "dead", string(e.all(e.retryQueue(g, "%DLQ%"), 1, 1)[0].Body), "x")
	first.CommitLogOffset += 1 << 40
	e.want("nothing there", e.back(first, g, 0, 0), remoting.RespSystemError)
}

// deadLetters: what sends to a retry topic end up as.
func deadLetters(e *env) {
	g := e.newGroup()
	retry, dead := e.retryQueue(g, "%RETRY%"), e.retryQueue(g, "%DLQ%")
	send := func(times int32, delay string) *remoting.SendResult {
		e.Helper()
		m := &remoting.Message{Body: []byte(strconv.Itoa(int(times))), ReconsumeTimes: times,
			Properties: map[string]string{"MAX_RECONSUME_TIMES": "5", "RETRY_TOPIC": "t"}}
		if delay != "" {
			m.Properties["DELAY"] = delay
		}
		res, err := e.cl.Send(e.ctx, retry, g, m)
		e.must(err)
		return res
	}
	send(1, "")
	m := e.all(retry, 0, 1)[0]
	equal(e, "times", m.ReconsumeTimes, 1)
	start := time.Now()
	send(2, "1")
	m = e.all(retry, 1, 1)[0]
	equal(e, "times after a delay", m.ReconsumeTimes, 2)
	if took := time.Since(start); took < 900*time.Millisecond {
		e.Fatalf("delayed send arrived after %v", took)
	}
	send(6, "1")
	equal(e, "beyond the limit", string(e.all(dead, 0, 1)[0].Body), "6")
	next := int64(1)
	if e.atLimit() {
		send(5, "")
		equal(e, "at the limit", string(e.all(dead, next, 1)[0].Body), "5")
		next++
	} else {
		send(5, "")
		equal(e, "at the limit", string(e.all(retry, 2, 1)[0].Body), "5")
	}
	if e.v4() {
		return // does not look at locks
	}
	_, qs := e.topic(1)
	_, err := e.cl.Lock(e.ctx, e.Addr(), g, "c", qs)
	e.must(err)
	send(1, "1")
	equal(e, "while the group holds a lock", string(e.all(dead, next, 1)[0].Body), "1")
	e.must(e.cl.Unlock(e.ctx, e.Addr(), g, "c", qs))
	send(3, "")
	got := e.all(retry, 2, map[bool]int{true: 1, false: 2}[e.atLimit()])
	equal(e, "without locks", string(got[len(got)-1].Body), "3")
}

// atLimit tells whether a send with as many tries as allowed is dead already.
func (e *env) atLimit() bool { return e.v4() }

// strangersRetry: a client that is no member of a group may put a message into its retry topic.
func strangersRetry(e *env) {
	for _, g := range []string{e.newGroup(), e.name("never-registered")} {
		retry, dead := e.retryQueue(g, "%RETRY%"), e.retryQueue(g, "%DLQ%")
		own := []any{"RETRY_TOPIC", "topic", "ORIGIN_MESSAGE_ID", "id", "UNIQ_KEY", "U", "TAGS", "a", "MSHA_ORIGIN", "a/b/1/2", "MSHA_RETRY", 7, "MAX_RECONSUME_TIMES", 16}
		send := func(times int32) {
			e.Helper()
			m := &remoting.Message{Body: []byte("x"), Flag: 3, ReconsumeTimes: times, Properties: ext(append(own, "DELAY", 1)...)}
			_, err := e.cl.Send(e.ctx, retry, "strangers", m)
			e.must(err)
		}
		start := time.Now()
		send(2)
		m := e.all(retry, 0, 1)[0]
		if took := time.Since(start); took < 900*time.Millisecond {
			e.Fatalf("delivered after %v", took)
		}
		equal(e, "times", m.ReconsumeTimes, 2)
		equal(e, "flag", m.Flag, 3)
		e.properties("properties", m, append(own, "DELAY", 1, "REAL_TOPIC", retry.Topic, "REAL_QID", 0)...)
		send(17) // of 16
		m = e.all(dead, 0, 1)[0]
		equal(e, "times of the dead", m.ReconsumeTimes, 17)
		if e.v4() { // dies with the delay it asked for
			e.properties("properties of the dead", m, append(own, "DELAY", 1, "REAL_TOPIC", dead.Topic, "REAL_QID", 0)...)
		} else {
			e.properties("properties of the dead", m, append(own, "DELAY", -1)...)
		}
	}
}

func delay(e *env) {
	topic, qs := e.topic(2)
	start := time.Now()
	resp := e.sendV1(topic, 1, "later", "DELAY\x012\x02KEYS\x01k\x02")
	e.want("send", resp, 0)
	e.put(qs[1], 1, "")
	ms := e.all(qs[1], 0, 2)
	if took := time.Since(start); took < 900*time.Millisecond {
		e.Fatalf("delivered after %v", took)
	}
	equal(e, "overtaken", string(ms[0].Body), "m0")
	equal(e, "body", string(ms[1].Body), "later")
	equal(e, "topic", ms[1].Topic, topic)
	e.properties("properties", ms[1], "KEYS", "k", "DELAY", 2, "REAL_TOPIC", topic, "REAL_QID", 1)
	// DELAY stays behind: who copies a delivered message as it is delays it again.
	e.want("level beyond the last", e.sendV1(topic, 0, "last", "DELAY\x0199\x02"), 0)
	equal(e, "delivered", string(e.all(qs[0], 0, 1)[0].Body), "last")
}

func transaction(e *env) {
	topic, qs := e.topic(1)
	half := func(body string) *remoting.Command {
		h := ext("a", "tx", "b", topic, "c", "TBW102", "d", 4, "e", 0, "f", remoting.SysTransPrepared, "g", time.Now().UnixMilli(), "h", 0,
			"i", "TRAN_MSG\x01true\x02PGROUP\x01tx\x02UNIQ_KEY\x01"+body+"\x02", "j", 0, "k", false, "m", false)
		resp := e.call(remoting.ReqSendMessageV2, h, []byte(body))
		e.want("half message", resp, 0)
		return resp
	}
	end := func(resp *remoting.Command, how int) {
		_, phys, err := remoting.ParseMessageID(resp.Ext["msgId"])
		e.must(err)
		got := e.call(remoting.ReqEndTransaction, ext("producerGroup", "tx", "tranStateTableOffset", resp.Ext["queueOffset"], "commitLogOffset", phys,
			"commitOrRollback", how, "fromTransactionCheck", false, "msgId", "m", "transactionId", "m"), nil)
		e.want("end", got, 0)
	}
	back, on := half("rolled back"), half("committed")
	end(back, remoting.SysTransRollback)
	end(on, remoting.SysTransCommit)
	m := e.all(qs[0], 0, 1)[0]
	equal(e, "body", string(m.Body), "committed")
	if e.v4() {
		e.properties("properties", m, "PGROUP", "tx", "TRAN_MSG", true, "UNIQ_KEY", "committed", "REAL_TOPIC", topic, "REAL_QID", 0)
	} else {
		e.properties("properties", m, "PGROUP", "tx", "TRAN_MSG", true, "UNIQ_KEY", "committed", "__transactionId__", "committed")
	}
}

func statistics(e *env) {
	topic, qs := e.topic(2)
	g := e.newGroup()
	e.put(qs[1], 3, "")
	e.all(qs[1], 0, 3)
	e.must(e.cl.Commit(e.ctx, g, qs[0], 0))
	e.must(e.cl.Commit(e.ctx, g, qs[1], 2))
	resp := e.call(remoting.ReqGetConsumeStats, ext("consumerGroup", g, "topic", topic), nil)
	e.want("consumer statistics", resp, 0)
	compact := strings.ReplaceAll(string(resp.Body), " ", "")
	for _, part := range []string{`"brokerOffset":3`, `"consumerOffset":2`, `"topic":"` + topic + `"`} {
		equal(e, part+" in "+compact, strings.Contains(compact, part), true)
	}
	resp = e.call(remoting.ReqGetTopicStats, ext("topic", topic), nil)
	e.want("topic statistics", resp, 0)
	equal(e, "maximum", strings.Contains(string(resp.Body), `"maxOffset":3`), true)
	e.want("unknown topic", e.call(remoting.ReqGetTopicStats, ext("topic", e.name("none")), nil), remoting.RespTopicNotExist)
	var info map[string]string
	e.eventually("runtime information, which 4.9.7 refuses in its first second", func() (ok bool) {
		var err error
		info, err = e.cl.RuntimeInfo(e.ctx, e.Addr())
		return err == nil
	})
	equal(e, "boot and runtime are told", info["bootTimestamp"] != "" && strings.HasSuffix(info["runtime"], " seconds ]"), true)
	config, err := e.cl.BrokerConfig(e.ctx, e.Addr())
	e.must(err)
	equal(e, "levels", config["messageDelayLevel"], "1s 1s 1s 2s")
}

func restart(e *env) {
	if e.Kill == nil {
		e.Skip("this target cannot be killed")
	}
	_, qs := e.topic(1)
	g := e.newGroup()
	e.put(qs[0], 5, "")
	e.all(qs[0], 0, 5)
	_, err := e.cl.Lock(e.ctx, e.Addr(), g, "one", qs)
	e.must(err)
	held := make(chan error, 1)
	go func() {
		_, err := e.cl.Pull(e.ctx, remoting.PullRequest{Queue: qs[0], Group: "readers", Offset: 5, Suspend: 60 * time.Second})
		held <- err
	}()
	start := time.Now()
	e.must(e.Kill())
	if err := <-held; err == nil || time.Since(start) > 45*time.Second {
		e.Fatalf("held pull of a dead broker: %v after %v", err, time.Since(start))
	}
	e.must(e.Restart())
	e.eventually("the restart", func() bool {
		e.cl.Forget()
		n, err := e.cl.MaxOffset(e.ctx, qs[0])
		return err == nil && n == 5
	})
	equal(e, "messages", string(e.all(qs[0], 0, 5)[4].Body), "m4")
	got, err := e.cl.Lock(e.ctx, e.Addr(), g, "two", qs)
	e.must(err)
	equal(e, "locks are gone", len(got), 1)
	equal(e, "offsets go on", e.put(qs[0], 1, "")[0], 5)
}
