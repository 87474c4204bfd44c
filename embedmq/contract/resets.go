package contract

import (
	"errors"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// offsetReset: an operator moves a group in the queues of a topic. RocketMQ 5 keeps the wish, ignores commits and tells the next pull of the
// group; RocketMQ 4 tells the connected consumers, and nothing is changed but by them.
func offsetReset(e *env) {
	topic, qs := e.topic(2)
	g := e.name("group")
	e.put(qs[0], 5, "")
	e.put(qs[1], 3, "")
	e.all(qs[0], 0, 5)
	e.all(qs[1], 0, 3)
	absent, unknown := remoting.RespSubscriptionGroupAbsent, remoting.RespTopicNotExist
	if e.clientResets() {
		absent = remoting.RespSystemError
	}
	if e.v4() {
		unknown = remoting.RespSystemError
	}
	header := func(topic, group string) map[string]string {
		return ext("topic", topic, "group", group, "timestamp", -1, "isForce", true)
	}
	e.want("unknown group", e.call(remoting.ReqInvokeResetOffset, header(topic, e.name("none")), nil), absent)
	e.must(e.cl.CreateGroup(e.ctx, e.Addr(), remoting.GroupConfig{Name: g}))
	e.must(e.cl.Commit(e.ctx, g, qs[0], 2))
	e.must(e.cl.Commit(e.ctx, g, qs[1], 1))
	e.want("unknown topic", e.call(remoting.ReqInvokeResetOffset, header(e.name("none"), g), nil), unknown)
	if e.clientResets() {
		_, err := e.cl.ResetOffsets(e.ctx, e.Addr(), g, topic, -1, true)
		equal(e, "nobody connected", errors.Is(err, msha.ErrNotFound), true)
	}
	e.must(e.cl.Heartbeat(e.ctx, e.Addr(), consumerOf("one", g, topic, "*", 1)))
	e.told(e.asked, g)

	committed := func(q remoting.Queue) int64 {
		off, err := e.cl.CommittedOffset(e.ctx, g, q)
		e.must(err)
		return off
	}
	reset := func(timestamp int64, force bool, want0, want1 int64) {
		e.Helper()
		quiet(e.asked)
		got, err := e.cl.ResetOffsets(e.ctx, e.Addr(), g, topic, timestamp, force)
		e.must(err)
		equal(e, "queues", len(got), 2)
		equal(e, "first queue", got[qs[0]], want0)
		equal(e, "second queue", got[qs[1]], want1)
		if !e.clientResets() {
			return
		}
		for {
			select {
			case cmd := <-e.asked:
				if cmd.Code != remoting.ReqResetConsumerOffset {
					continue
				}
				equal(e, "oneway", cmd.IsOneway(), true)
				told, err := remoting.DecodeReset(cmd)
				e.must(err)
				equal(e, "group", told.Group, g)
				equal(e, "topic", told.Topic, topic)
				equal(e, "queues told", len(told.Offsets), 2)
				equal(e, "first queue told", told.Offsets[qs[0]], want0)
				equal(e, "second queue told", told.Offsets[qs[1]], want1)
				return
			case <-e.ctx.Done():
				e.Fatal("the consumer is not told")
			}
		}
	}
	reset(-1, true, 5, 3)
	reset(0, false, 0, 0)
	if e.clientResets() {
		reset(-1, false, 2, 1) // skips nothing
		equal(e, "committed", committed(qs[0]), 2)
		res := e.pull(remoting.PullRequest{Queue: qs[0], Group: g, Offset: 2, Resets: true})
		equal(e, "pulled as ever", res.NextOffset, 5)
		return
	}
	reset(-1, false, 5, 3) // force or not
	equal(e, "reset", committed(qs[0]), 5)
	e.must(e.cl.Commit(e.ctx, g, qs[0], 3))
	equal(e, "commits are ignored", committed(qs[0]), 5)
	equal(e, "others are not told", e.pull(remoting.PullRequest{Queue: qs[0], Group: "readers", Offset: 2, Resets: true}).NextOffset, 5)
	res := e.pull(remoting.PullRequest{Queue: qs[0], Group: g, Offset: 2, Resets: true})
	equal(e, "told", res.Status, remoting.PullReset)
	equal(e, "nothing with it", len(res.Messages), 0)
	equal(e, "where to", res.NextOffset, 5)
	equal(e, "minimum", res.MinOffset, 0)
	equal(e, "maximum", res.MaxOffset, 5)
	res = e.pull(remoting.PullRequest{Queue: qs[0], Group: g, Offset: 2, Resets: true})
	equal(e, "told once", len(res.Messages), 3)
	e.must(e.cl.Commit(e.ctx, g, qs[0], 3))
	equal(e, "commits count again", committed(qs[0]), 3)
	res = e.pull(remoting.PullRequest{Queue: qs[1], Group: g, Offset: 1})
	equal(e, "who does not ask to be told", len(res.Messages), 2)

	held := make(chan *remoting.PullResult, 1)
	go func() {
		res, _ := e.cl.Pull(e.ctx, remoting.PullRequest{Queue: qs[0], Group: g, Offset: 5, Suspend: 60 * time.Second, Resets: true})
		held <- res
	}()
	time.Sleep(300 * time.Millisecond) // held by now, usually; the outcome is the same if not
	e.must(e.cl.ResetOffset(e.ctx, e.Addr(), g, qs[0], 1))
	e.put(qs[0], 1, "")
	if res = <-held; res == nil {
		e.Fatal("held pull failed")
	}
	equal(e, "a held pull is told with the next message", res.Status, remoting.PullReset)
	equal(e, "where to", res.NextOffset, 1)
	e.all(qs[0], 5, 1)
	var refused *remoting.BrokerError
	equal(e, "beyond the end", errors.As(e.cl.ResetOffset(e.ctx, e.Addr(), g, qs[0], 8), &refused), true)
	equal(e, "beyond the end", refused.Code, remoting.RespSystemError)
	e.must(e.cl.ResetOffset(e.ctx, e.Addr(), g, qs[0], 7)) // one beyond is not looked at
	equal(e, "beyond the end", e.pull(remoting.PullRequest{Queue: qs[0], Group: g, Offset: 5, Resets: true}).NextOffset, 7)
}
