package contract

import (
	"encoding/json"
	"slices"

	"github.com/go-msha/msha/internal/remoting"
)

func routes(e *env) {
	resp, err := e.client.Call(e.ctx, e.NameServer, remoting.NewRequest(remoting.ReqGetRouteInfoByTopic, ext("topic", e.name("none")), nil))
	e.must(err)
	e.want("route of an unknown topic", resp, remoting.RespTopicNotExist)
	topic := e.name("topic")
	e.must(e.cl.CreateTopic(e.ctx, e.Addr(), remoting.TopicConfig{Name: topic, Read: 3, Write: 2}))
	e.queues(topic, 2)
	r, err := e.cl.Route(e.ctx, topic)
	e.must(err)
	equal(e, "queue data", r.Queues[0], remoting.QueueData{Broker: e.Broker, Read: 3, Write: 2, Perm: 6})
	equal(e, "address", r.Brokers[0].Addrs[0], e.Addr())
	masters, err := e.cl.Brokers(e.ctx)
	e.must(err)
	equal(e, "cluster info", masters[e.Broker], e.Addr())
	list, err := e.cl.TopicList(e.ctx)
	e.must(err)
	equal(e, "topic list", slices.Contains(list, topic), true)
	resp, err = e.client.Call(e.ctx, e.NameServer, remoting.NewRequest(101, ext("namespace", "ORDER_TOPIC_CONFIG", "key", topic), nil))
	e.must(err)
	e.want("key without a value", resp, remoting.RespQueryNotFound)
	resp, err = e.client.Call(e.ctx, e.NameServer, remoting.NewRequest(100, ext("namespace", "ORDER_TOPIC_CONFIG", "key", topic, "value", "a:1"), nil))
	e.must(err)
	e.want("set a value", resp, 0)
	resp, err = e.client.Call(e.ctx, e.NameServer, remoting.NewRequest(101, ext("namespace", "ORDER_TOPIC_CONFIG", "key", topic), nil))
	e.must(err)
	equal(e, "value", resp.Ext["value"], "a:1")
	resp, err = e.client.Call(e.ctx, e.NameServer, remoting.NewRequest(102, ext("namespace", "ORDER_TOPIC_CONFIG", "key", topic), nil))
	e.must(err)
	e.want("delete a value", resp, 0)
	if e.v4() {
		return // its name server never answers a request it does not know
	}
	resp, err = e.client.Call(e.ctx, e.NameServer, remoting.NewRequest(9999, nil, nil))
	e.must(err)
	e.want("unknown request", resp, remoting.RespRequestCodeNotSupported)
}

func topics(e *env) {
	topic, qs := e.topic(2)
	e.put(qs[0], 1, "")
	e.must(e.cl.CreateTopic(e.ctx, e.Addr(), remoting.TopicConfig{Name: topic, Read: 5, Write: 4, Perm: 4}))
	cfg, err := e.cl.TopicConfig(e.ctx, e.Addr(), topic)
	e.must(err)
	equal(e, "configuration", cfg, remoting.TopicConfig{Name: topic, Read: 5, Write: 4, Perm: 4})
	if !e.v4() {
		var one struct {
			Name string `json:"topicName"`
			Read int    `json:"readQueueNums"`
		}
		resp := e.call(remoting.ReqGetTopicConfig, ext("topic", topic, "lo", "true"), nil)
		e.want("one configuration", resp, 0)
		e.must(json.Unmarshal(resp.Body, &one))
		equal(e, "read queues", one.Read, 5)
		e.want("unknown topic", e.call(remoting.ReqGetTopicConfig, ext("topic", e.name("none"), "lo", "true"), nil), remoting.RespTopicNotExist)
	}
	e.want("send to a topic without write permission", e.sendV1(topic, 0, "x", ""), remoting.RespSuccess) // clients look at the route
	for _, bad := range []string{"", "a b", "ü", "TBW102"} {
		resp := e.call(remoting.ReqUpdateAndCreateTopic, ext("topic", bad, "defaultTopic", "TBW102", "readQueueNums", 1, "writeQueueNums", 1, "perm", 6,
			"topicFilterType", "SINGLE_TAG", "order", false), nil)
		if resp.Code == 0 {
			e.Fatalf("topic %q was created", bad)
		}
	}
	e.must(e.cl.DeleteTopic(e.ctx, e.Addr(), topic))
	e.eventually("deletion", func() bool {
		_, err := e.cl.TopicConfig(e.ctx, e.Addr(), topic)
		_, routeErr := e.cl.Route(e.ctx, topic)
		return err != nil && routeErr != nil
	})
}
