package contract

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

func offsets(e *env) {
	topic, qs := e.topic(2)
	g := e.name("group")
	e.must(e.cl.CreateGroup(e.ctx, e.Addr(), remoting.GroupConfig{Name: g}))
	query := ext("consumerGroup", g, "topic", topic, "queueId", 0)
	off, err := e.cl.CommittedOffset(e.ctx, g, qs[0])
	if !errors.Is(err, msha.ErrNotFound) {
		e.Fatalf("offset of a group without one: %d, %v", off, err)
	}
	resp := e.call(remoting.ReqQueryConsumerOffset, query, nil)
	if e.v4() { // cannot be told not to make up a zero
		equal(e, "made up offset", e.number(resp, "offset"), 0)
	} else {
		e.want("offset for an empty queue", resp, remoting.RespQueryNotFound)
	}
	e.put(qs[0], 3, "")
	e.all(qs[0], 0, 3)
	equal(e, "offset while everything is in memory", e.number(e.call(remoting.ReqQueryConsumerOffset, query, nil), "offset"), 0)
	e.must(e.cl.Commit(e.ctx, g, qs[0], 2))
	off, err = e.cl.CommittedOffset(e.ctx, g, qs[0])
	e.must(err)
	equal(e, "committed", off, 2)
	e.pull(remoting.PullRequest{Queue: qs[0], Group: g, CommitOffset: 1})
	off, err = e.cl.CommittedOffset(e.ctx, g, qs[0])
	e.must(err)
	equal(e, "committed with a pull", off, 1)
	resp = e.call(remoting.ReqGetAllConsumerOffset, nil, nil)
	e.want("all offsets", resp, 0)
	equal(e, "all offsets name the group", strings.Contains(string(resp.Body), topic+"@"+g), true)
	if !e.v4() {
		e.want("commit of an unknown group", e.call(remoting.ReqUpdateConsumerOffset,
			ext("consumerGroup", e.name("none"), "topic", topic, "queueId", 0, "commitOffset", 1), nil), remoting.RespSubscriptionGroupAbsent)
		e.want("commit for an unknown topic", e.call(remoting.ReqUpdateConsumerOffset,
			ext("consumerGroup", g, "topic", e.name("none"), "queueId", 0, "commitOffset", 1), nil), remoting.RespTopicNotExist)
	}
	n, err := e.cl.MaxOffset(e.ctx, qs[0])
	e.must(err)
	equal(e, "maximum", n, 3)
	n, err = e.cl.MinOffset(e.ctx, qs[0])
	e.must(err)
	equal(e, "minimum", n, 0)
	none := remoting.Queue{Topic: e.name("none"), Broker: e.Broker}
	n, err = e.cl.MaxOffset(e.ctx, none)
	e.must(err)
	equal(e, "maximum of an unknown topic", n, 0)
	ms := e.all(qs[0], 0, 3)
	n, err = e.cl.OffsetByTime(e.ctx, qs[0], time.UnixMilli(ms[0].StoreTimestamp-10_000))
	e.must(err)
	equal(e, "before the first", n, 0)
	// The first of those stored in the same millisecond.
	n, err = e.cl.OffsetByTime(e.ctx, qs[0], time.UnixMilli(ms[2].StoreTimestamp))
	e.must(err)
	equal(e, "found by its time", ms[n].StoreTimestamp, ms[2].StoreTimestamp)
	if !e.v4() { // the nearest one there
		n, err = e.cl.OffsetByTime(e.ctx, qs[0], time.UnixMilli(ms[2].StoreTimestamp+10_000))
		e.must(err)
		equal(e, "after the last", n, 3)
	}
}

// maxAfterSend: a real server dispatches to the queue after it has answered, so the maximum may lag behind an acknowledged send. It
// catches up, and never runs ahead.
func maxAfterSend(e *env) {
	topic, qs := e.topic(1)
	const sends = 2000
	lagged := map[string]int{} // by the header that on paper asks for what is assigned, not dispatched; it changes nothing
	var longest time.Duration
	for i := range int64(sends) {
		equal(e, "offset", e.put(qs[0], 1, "")[0], i)
		committed := strconv.FormatBool(i%2 == 0)
		sent := time.Now()
		for first := true; ; first = false {
			n := e.number(e.call(remoting.ReqGetMaxOffset, ext("topic", topic, "queueId", 0, "committed", committed), nil), "offset")
			if n > i+1 {
				e.Fatalf("maximum %d after the send of %d", n, i)
			}
			if n == i+1 {
				break
			}
			if first {
				lagged[committed]++
			}
			longest = max(longest, time.Since(sent))
		}
	}
	e.Logf("maximum lagged %v of %d sends, longest %v", lagged, sends, longest)
}
