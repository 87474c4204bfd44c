package contract

import (
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

func (e *env) pull(p remoting.PullRequest) *remoting.PullResult {
	e.Helper()
	if p.Group == "" {
		p.Group = "readers"
	}
	res, err := e.cl.Pull(e.ctx, p)
	e.must(err)
	return res
}

func pull(e *env) {
	_, qs := e.topic(2)
	e.put(qs[0], 40, "a")
	e.put(qs[0], 1, "b")
	e.all(qs[0], 0, 41)
	res := e.pull(remoting.PullRequest{Queue: qs[0], Max: 1000})
	equal(e, "messages of one pull", len(res.Messages), 32)
	equal(e, "next", res.NextOffset, 32)
	equal(e, "minimum", res.MinOffset, 0)
	equal(e, "maximum", res.MaxOffset, 41)
	res = e.pull(remoting.PullRequest{Queue: qs[0], Max: 3, Offset: 5})
	equal(e, "as many as asked", len(res.Messages), 3)
	equal(e, "first", res.Messages[0].QueueOffset, 5)
	res = e.pull(remoting.PullRequest{Queue: qs[0], SubExpression: "b || c"})
	equal(e, "status", res.Status, remoting.PullFound)
	equal(e, "of tag b", len(res.Messages), 1)
	equal(e, "its offset", res.Messages[0].QueueOffset, 40)
	equal(e, "next", res.NextOffset, 41)
	res = e.pull(remoting.PullRequest{Queue: qs[0], SubExpression: "c"})
	equal(e, "none of tag c", res.Status, remoting.PullNoMatched)
	equal(e, "next", res.NextOffset, 41)
	res = e.pull(remoting.PullRequest{Queue: qs[0], Offset: 41})
	equal(e, "at the end", res.Status, remoting.PullNoNew)
	equal(e, "next", res.NextOffset, 41)
	res = e.pull(remoting.PullRequest{Queue: qs[0], Offset: 50})
	equal(e, "beyond the end", res.Status, remoting.PullOffsetIllegal)
	equal(e, "maximum", res.MaxOffset, 41)
	res = e.pull(remoting.PullRequest{Queue: qs[1]})
	equal(e, "empty queue", res.Status, remoting.PullNoNew)
	res = e.pull(remoting.PullRequest{Queue: qs[1], Offset: 5})
	equal(e, "beyond an empty queue", res.Status, remoting.PullOffsetIllegal)
	equal(e, "next", res.NextOffset, 0)
	e.put(qs[1], 1, "AaAa")
	equal(e, "hash collisions pass", len(e.all(qs[1], 0, 1)), 1)
	res = e.pull(remoting.PullRequest{Queue: qs[1], SubExpression: "BBBB"})
	equal(e, "hash collisions pass", len(res.Messages), 1)
}

// longSuspend is longer than what a held pull waits for takes.
const longSuspend = 30 * time.Second

func pullHeader(topic string, queue int, offset int64, flags int) map[string]string {
	return ext("consumerGroup", "readers", "topic", topic, "queueId", queue, "queueOffset", offset, "maxMsgNums", 32, "sysFlag", flags,
		"commitOffset", 0, "suspendTimeoutMillis", 1000, "subscription", "*", "subVersion", 0, "expressionType", "TAG")
}

func pullErrors(e *env) {
	topic, qs := e.topic(1)
	e.put(qs[0], 1, "")
	e.want("no subscription", e.call(remoting.ReqPullMessage, pullHeader(topic, 0, 0, 0), nil), remoting.RespSubscriptionNotExist)
	e.want("unknown topic", e.call(remoting.ReqPullMessage, pullHeader(e.name("none"), 0, 0, 4), nil), remoting.RespTopicNotExist)
	illegal := remoting.RespInvalidParameter
	if e.v4() {
		illegal = remoting.RespSystemError
	}
	e.want("queue 1 of 1", e.call(remoting.ReqPullMessage, pullHeader(topic, 1, 0, 4), nil), illegal)
	e.must(e.cl.CreateTopic(e.ctx, e.Addr(), remoting.TopicConfig{Name: topic, Read: 1, Write: 1, Perm: 2}))
	e.want("not readable", e.call(remoting.ReqPullMessage, pullHeader(topic, 0, 0, 4), nil), remoting.RespNoPermission)
}

func longPolling(e *env) {
	_, qs := e.topic(1)
	type answer struct {
		res  *remoting.PullResult
		err  error
		took time.Duration
	}
	ask := func(p remoting.PullRequest) chan answer {
		ch := make(chan answer, 1)
		p.Queue, p.Group = qs[0], "readers"
		go func() {
			start := time.Now()
			res, err := e.cl.Pull(e.ctx, p)
			ch <- answer{res, err, time.Since(start)}
		}()
		return ch
	}
	all := ask(remoting.PullRequest{Suspend: 30 * time.Second})
	tagged := ask(remoting.PullRequest{Suspend: 30 * time.Second, SubExpression: "b"})
	time.Sleep(300 * time.Millisecond) // both held by now, usually; the outcome is the same if not
	e.put(qs[0], 1, "a")
	got := <-all
	e.must(got.err)
	equal(e, "woken", len(got.res.Messages), 1)
	e.put(qs[0], 1, "b")
	got = <-tagged
	e.must(got.err)
	// A real server also looks at held pulls from time to time, and then answers that nothing matched.
	for got.res.Status == remoting.PullNoMatched {
		got = <-ask(remoting.PullRequest{Offset: got.res.NextOffset, Suspend: 30 * time.Second, SubExpression: "b"})
		e.must(got.err)
	}
	equal(e, "woken by its tag", len(got.res.Messages), 1)
	equal(e, "offset", got.res.Messages[0].QueueOffset, 1)
	got = <-ask(remoting.PullRequest{Offset: 2, Suspend: time.Second})
	e.must(got.err)
	equal(e, "in vain", got.res.Status, remoting.PullNoNew)
	if got.took < 900*time.Millisecond {
		e.Fatalf("answered after %v", got.took)
	}
}
