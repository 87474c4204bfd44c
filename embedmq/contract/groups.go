package contract

import (
	"slices"
	"time"

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

// departures: a client that says goodbye is gone at once, one whose connection drops when the broker notices.
func departures(e *env) {
	topic, _ := e.topic(1)
	g := e.name("group")
	members := func() (ids, connected int) {
		list, err := e.cl.ConsumerIDs(e.ctx, e.Addr(), g)
		e.must(err)
		conns, err := e.cl.ConsumerConnections(e.ctx, e.Addr(), g)
		e.must(err)
		return len(list), len(conns.Connections)
	}
	for _, id := range []string{"polite", "rude"} {
		c := e.newClient(nil)
		cl := remoting.NewCluster([]string{e.NameServer}, c)
		e.must(cl.Heartbeat(e.ctx, e.Addr(), consumerOf(id, g, topic, "*", 1)))
		ids, connected := members()
		equal(e, "ids", ids, 1)
		equal(e, "connections", connected, 1)
		if id == "polite" {
			e.must(cl.Unregister(e.ctx, e.Addr(), id, g))
			ids, connected = members()
			equal(e, "ids after the goodbye", ids, 0)
			equal(e, "connections after the goodbye", connected, 0)
			continue
		}
		dropped := time.Now()
		c.Close()
		e.eventually("absence of the dropped client", func() bool { ids, connected = members(); return ids == 0 && connected == 0 })
		e.Logf("dropped client gone after %v", time.Since(dropped))
		if after := time.Since(dropped); after > 30*time.Second { // by the clock it would be 2 min
			e.Fatalf("dropped client gone only after %v", after)
		}
	}
}
