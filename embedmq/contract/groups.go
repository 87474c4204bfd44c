package contract

import (
	"slices"

	"github.com/go-msha/msha/internal/remoting"
)

func consumerOf(client, g, topic, tags string, version int64) *remoting.HeartbeatData {
	s := remoting.SubscriptionData{Topic: topic, SubString: tags, SubVersion: version, ExpressionType: "TAG", Tags: []string{}, Codes: []int32{}}
	if tags != "*" {
		s.Tags, s.Codes = []string{tags}, []int32{remoting.TagHash(tags)}
	}
	return &remoting.HeartbeatData{ClientID: client, Producers: []remoting.ProducerData{{GroupName: "producers"}}, Consumers: []remoting.ConsumerData{{
		GroupName: g, Type: "CONSUME_PASSIVELY", Model: "CLUSTERING", From: "CONSUME_FROM_LAST_OFFSET", Subscriptions: []remoting.SubscriptionData{s}}}}
}

// told waits for the notice that a group's members changed.
func (e *env) told(ch chan *remoting.Command, g string) {
	e.Helper()
	for {
		select {
		case cmd := <-ch:
			if cmd.Code == remoting.ReqNotifyConsumerIDsChanged && cmd.Ext["consumerGroup"] == g {
				equal(e, "oneway", cmd.IsOneway(), true)
				return
			}
		case <-e.ctx.Done():
			e.Fatal("no notice of the change")
		}
	}
}

// quiet drops the notices that are there.
func quiet(ch chan *remoting.Command) {
	for {
		select {
		case <-ch:
		default:
			return
		}
	}
}

func group(e *env) {
	topic, _ := e.topic(1)
	g := e.name("group")
	list := func() []string {
		ids, err := e.cl.ConsumerIDs(e.ctx, e.Addr(), g)
		e.must(err)
		return ids
	}
	e.want("nobody", e.call(remoting.ReqGetConsumerListByGroup, ext("consumerGroup", g), nil), remoting.RespSystemError)
	e.want("nobody", e.call(remoting.ReqGetConsumerConnections, ext("consumerGroup", g), nil), remoting.RespConsumerNotOnline)
	e.must(e.cl.Heartbeat(e.ctx, e.Addr(), consumerOf("one", g, topic, "*", 1)))
	e.told(e.asked, g)
	equal(e, "members", slices.Equal(list(), []string{"one"}), true)
	e.eventually("retry topic", func() bool { _, err := e.cl.Route(e.ctx, "%RETRY%"+g); return err == nil })

	second := e.newClient(nil)
	cl2 := remoting.NewCluster([]string{e.NameServer}, second)
	quiet(e.asked)
	e.must(cl2.Heartbeat(e.ctx, e.Addr(), consumerOf("two", g, topic, "*", 1)))
	e.told(e.asked, g)
	equal(e, "members", slices.Equal(list(), []string{"one", "two"}), true)
	conns, err := e.cl.ConsumerConnections(e.ctx, e.Addr(), g)
	e.must(err)
	equal(e, "connections", len(conns.Connections), 2)
	equal(e, "language", conns.Connections[0].Language, "GO")
	e.must(cl2.Unregister(e.ctx, e.Addr(), "two", g))
	e.told(e.asked, g)
	equal(e, "members", slices.Equal(list(), []string{"one"}), true)
	e.must(cl2.Heartbeat(e.ctx, e.Addr(), consumerOf("two", g, topic, "*", 1)))
	e.told(e.asked, g)
	quiet(e.asked)
	second.Close()
	e.told(e.asked, g)
	equal(e, "members after a dropped connection", slices.Equal(list(), []string{"one"}), true)
	e.must(e.cl.Unregister(e.ctx, e.Addr(), "one", g))
	e.eventually("empty group", func() bool { return len(list()) == 0 })

	named := e.name("group")
	e.must(e.cl.CreateGroup(e.ctx, e.Addr(), remoting.GroupConfig{Name: named}))
	names, err := e.cl.Groups(e.ctx, e.Addr())
	e.must(err)
	equal(e, "groups", slices.Contains(names, named), true)
	e.want("delete", e.call(remoting.ReqDeleteGroup, ext("groupName", named, "cleanOffset", true), nil), 0)
	names, err = e.cl.Groups(e.ctx, e.Addr())
	e.must(err)
	equal(e, "groups", slices.Contains(names, named), false)
}

func subscriptions(e *env) {
	topic, qs := e.topic(1)
	g := e.name("group")
	e.put(qs[0], 1, "a")
	e.put(qs[0], 1, "b")
	e.all(qs[0], 0, 2)
	e.must(e.cl.Heartbeat(e.ctx, e.Addr(), consumerOf("one", g, topic, "b", 10)))
	res := e.pull(remoting.PullRequest{Queue: qs[0], Group: g, FromHeartbeat: true, SubVersion: 10})
	equal(e, "filtered by the heartbeat", len(res.Messages), 1)
	equal(e, "offset", res.Messages[0].QueueOffset, 1)
	h := pullHeader(topic, 0, 0, 0)
	h["consumerGroup"], h["subVersion"] = g, "11"
	e.want("newer than the heartbeat", e.call(remoting.ReqPullMessage, h, nil), remoting.RespSubscriptionNotLatest)
	other, _ := e.topic(1)
	h = pullHeader(other, 0, 0, 0)
	h["consumerGroup"] = g
	e.want("not subscribed", e.call(remoting.ReqPullMessage, h, nil), remoting.RespSubscriptionNotExist)
	quiet(e.asked)
	e.must(e.cl.Heartbeat(e.ctx, e.Addr(), consumerOf("one", g, other, "*", 11)))
	e.told(e.asked, g)
	e.want("subscribed now", e.call(remoting.ReqPullMessage, h, nil), remoting.RespPullNotFound)
}

func locks(e *env) {
	_, qs := e.topic(3)
	g := e.name("never-registered")
	lock := func(client string, qs ...remoting.Queue) int {
		got, err := e.cl.Lock(e.ctx, e.Addr(), g, client, qs)
		e.must(err)
		return len(got)
	}
	equal(e, "free", lock("one", qs[0], qs[1]), 2)
	equal(e, "held by another", lock("two", qs...), 1)
	equal(e, "renewed", lock("one", qs...), 2)
	e.must(e.cl.Unlock(e.ctx, e.Addr(), g, "two", qs[:2]))
	equal(e, "unlocked by who does not hold it", lock("two", qs[0]), 0)
	e.must(e.cl.Unlock(e.ctx, e.Addr(), g, "one", qs[:1]))
	equal(e, "free again", lock("two", qs[0], qs[1]), 1)
	other, err := e.cl.Lock(e.ctx, e.Addr(), g+"-other", "three", qs)
	e.must(err)
	equal(e, "another group", len(other), 3)
}
