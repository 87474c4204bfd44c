package contract

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

// sendV1 sends with the long header names.
func (e *env) sendV1(topic string, queue int, body, props string) *remoting.Command {
	e.Helper()
	return e.call(remoting.ReqSendMessage, ext("producerGroup", "producers", "topic", topic, "defaultTopic", "TBW102", "defaultTopicQueueNums", 3,
		"queueId", queue, "sysFlag", 0, "bornTimestamp", time.Now().UnixMilli(), "flag", 7, "properties", props, "reconsumeTimes", 0,
		"unitMode", false, "batch", false), []byte(body))
}

func send(e *env) {
	topic, qs := e.topic(2)
	before := time.Now().Add(-time.Minute).UnixMilli()
	res, err := e.cl.Send(e.ctx, qs[1], "producers", &remoting.Message{Body: []byte("v2"), Flag: 5, BornTimestamp: 1700000000000,
		Properties: map[string]string{"TAGS": "a", "KEYS": "k1", "UNIQ_KEY": "U1", "mine": "ä"}})
	e.must(err)
	equal(e, "offset", res.QueueOffset, 0)
	equal(e, "queue", res.Queue, qs[1])
	resp := e.sendV1(topic, 1, "v1", "TAGS\x01b\x02")
	equal(e, "offset", e.number(resp, "queueOffset"), 1)
	m := e.all(qs[1], 0, 2)
	equal(e, "body", string(m[0].Body), "v2")
	equal(e, "flag", m[0].Flag, 5)
	equal(e, "born", m[0].BornTimestamp, 1700000000000)
	equal(e, "topic", m[0].Topic, topic)
	equal(e, "queue", m[0].QueueID, 1)
	equal(e, "offsets", m[1].QueueOffset, 1)
	equal(e, "store host", m[0].StoreHost.String(), e.Addr())
	equal(e, "recent", m[0].StoreTimestamp > before, true)
	e.properties("properties", m[0], "TAGS", "a", "KEYS", "k1", "UNIQ_KEY", "U1", "mine", "ä")
	e.properties("properties", m[1], "TAGS", "b")
	equal(e, "flag of the second", m[1].Flag, 7)
	id := resp.Ext["msgId"]
	equal(e, "message id", id, remoting.MessageID(m[1].StoreHost, m[1].CommitLogOffset))
	seen, err := e.cl.ViewMessage(e.ctx, e.Addr(), m[1].CommitLogOffset)
	e.must(err)
	equal(e, "viewed", string(seen.Body), "v1")
	e.want("view nothing", e.call(remoting.ReqViewMessageByID, ext("offset", m[1].CommitLogOffset+1<<40), nil), remoting.RespSystemError)
	req := remoting.NewRequest(remoting.ReqSendMessageV2, ext("a", "p", "b", topic, "c", "TBW102", "d", 4, "e", 1, "f", 0, "g", 1, "h", 0, "i", "", "j", 0, "k", false, "m", false), []byte("oneway"))
	e.must(e.client.Oneway(e.ctx, e.Addr(), req))
	equal(e, "oneway", string(e.all(qs[1], 2, 1)[0].Body), "oneway")
	// An unknown topic comes into being with as many queues as the client and the default topic allow.
	auto := e.name("auto")
	e.want("new topic", e.sendV1(auto, 0, "x", ""), remoting.RespSuccess)
	e.queues(auto, 3)
	// Queues beyond the writable ones take messages up to the readable ones.
	e.must(e.cl.CreateTopic(e.ctx, e.Addr(), remoting.TopicConfig{Name: topic, Read: 4, Write: 2}))
	e.want("queue 3 of 4 readable", e.sendV1(topic, 3, "x", ""), remoting.RespSuccess)
	// A negative queue id lets the broker choose.
	if n := e.number(e.sendV1(topic, -1, "x", ""), "queueId"); n < 0 || n > 1 {
		e.Fatalf("broker chose queue %d of 2", n)
	}
}

func sendErrors(e *env) {
	topic, qs := e.topic(2)
	illegal := remoting.RespInvalidParameter
	if e.v4() {
		illegal = remoting.RespSystemError
	}
	e.want("queue id 2 of 2", e.sendV1(topic, 2, "x", ""), illegal)
	e.want("4 MiB and a byte", e.sendV1(topic, 0, strings.Repeat("x", 4<<20+1), ""), remoting.RespMessageIllegal)
	e.want("4 MiB", e.sendV1(topic, 0, strings.Repeat("x", 4<<20), ""), remoting.RespSuccess)
	e.want("properties of 40 kB", e.sendV1(topic, 0, "x", "a\x01"+strings.Repeat("x", 40000)+"\x02"), remoting.RespMessageIllegal)
	noDefault := ext("producerGroup", "p", "topic", e.name("none"), "defaultTopic", "nothing", "defaultTopicQueueNums", 3,
		"queueId", 0, "sysFlag", 0, "bornTimestamp", 1, "flag", 0, "properties", "", "reconsumeTimes", 0, "unitMode", false, "batch", false)
	e.want("unknown topic", e.call(remoting.ReqSendMessage, noDefault, []byte("x")), remoting.RespTopicNotExist)
	if resp := e.sendV1("a b", 0, "x", ""); resp.Code == 0 {
		e.Fatal("illegal topic name taken")
	}
	if resp := e.sendV1("SCHEDULE_TOPIC_XXXX", 0, "x", ""); resp.Code == 0 {
		e.Fatal("send to the schedule topic taken")
	}
	e.put(qs[1], 1, "")
	equal(e, "refused messages left no trace", e.all(qs[1], 0, 1)[0].QueueOffset, 0)
	e.want("unknown request", e.call(9999, nil, nil), remoting.RespRequestCodeNotSupported)
}

func batch(e *env) {
	_, qs := e.topic(1)
	e.put(qs[0], 1, "")
	ms := []*remoting.Message{
		{Body: []byte("b0"), Flag: 1, Properties: map[string]string{"TAGS": "a"}},
		{Body: []byte("b1"), Properties: map[string]string{"KEYS": "k"}},
		{Body: []byte("b2"), Properties: map[string]string{"UNIQ_KEY": "U"}},
	}
	res, err := e.cl.SendBatch(e.ctx, qs[0], "producers", ms)
	e.must(err)
	equal(e, "first offset", res.QueueOffset, 1)
	equal(e, "ids", strings.Count(res.OffsetMsgID, ","), 2)
	got := e.all(qs[0], 1, 3)
	for i, m := range got {
		equal(e, "body", string(m.Body), string(ms[i].Body))
		equal(e, "flag", m.Flag, ms[i].Flag)
		equal(e, "offset", m.QueueOffset, int64(i+1))
		want := maps.Clone(ms[i].Properties)
		if e.v4() {
			want["CLUSTER"] = "DefaultCluster"
		}
		equal(e, "properties", fmt.Sprint(m.Properties), fmt.Sprint(want))
	}
	big := []*remoting.Message{{Body: []byte(strings.Repeat("x", 3<<20))}, {Body: []byte(strings.Repeat("x", 3<<20))}}
	if _, err := e.cl.SendBatch(e.ctx, qs[0], "producers", big); err == nil {
		e.Fatal("batch of 6 MiB taken")
	}
	q := qs[0]
	q.ID = 1
	if _, err := e.cl.SendBatch(e.ctx, q, "producers", ms); err == nil {
		e.Fatal("batch for an illegal queue taken")
	}
	equal(e, "nothing of it stored", len(e.all(qs[0], 0, 4)), 4)
}

// emptyBodies: on the wire a body of length zero is no body. Version 5 fails at it, but not at an empty message inside a batch.
func emptyBodies(e *env) {
	topic, qs := e.topic(1)
	single := remoting.RespSystemError
	if e.v4() {
		single = remoting.RespSuccess
	}
	e.want("single", e.sendV1(topic, 0, "", "TAGS\x01a\x02"), single)
	tagged := &remoting.Message{Properties: map[string]string{"TAGS": "a"}}
	res, err := e.cl.SendBatch(e.ctx, qs[0], "producers", []*remoting.Message{tagged, msg("full"), {}})
	e.must(err)
	ms := e.all(qs[0], res.QueueOffset, 3)
	for i, want := range []string{"", "full", ""} {
		equal(e, "body in a batch", string(ms[i].Body), want)
	}
	equal(e, "tag", ms[0].Properties["TAGS"], "a")
	res, err = e.cl.SendBatch(e.ctx, qs[0], "producers", []*remoting.Message{tagged})
	e.must(err)
	equal(e, "batch of one", len(e.all(qs[0], res.QueueOffset, 1)[0].Body), 0)
	none := ext("a", "p", "b", topic, "c", "TBW102", "d", 4, "e", 0, "f", 0, "g", 1, "h", 0, "i", "", "j", 0, "k", false, "m", true)
	e.want("batch of none", e.call(remoting.ReqSendBatchMessage, none, nil), remoting.RespSystemError)
}

// positions: the offset in the answer is the place in the queue, whoever else sends.
func positions(e *env) {
	_, qs := e.topic(1)
	const senders, each = 4, 50
	type stored struct {
		body   string
		offset int64
	}
	answers := make(chan stored, senders*each)
	errs := make(chan error, senders)
	for s := range senders {
		go func() {
			for i := range each {
				body := strconv.Itoa(s) + "/" + strconv.Itoa(i)
				res, err := e.cl.Send(e.ctx, qs[0], "producers", msg(body))
				if err != nil {
					errs <- err
					return
				}
				answers <- stored{body, res.QueueOffset}
			}
			errs <- nil
		}()
	}
	for range senders {
		e.must(<-errs)
	}
	close(answers)
	ms := e.all(qs[0], 0, senders*each)
	for a := range answers {
		equal(e, "body at the answered offset", string(ms[a.offset].Body), a.body)
		equal(e, "its own offset", ms[a.offset].QueueOffset, a.offset)
	}
	res, err := e.cl.SendBatch(e.ctx, qs[0], "producers", []*remoting.Message{msg("x"), msg("y")})
	e.must(err)
	equal(e, "batch", res.QueueOffset, senders*each)
	equal(e, "after a batch", e.put(qs[0], 1, "")[0], senders*each+2)
}

func msg(body string) *remoting.Message { return &remoting.Message{Body: []byte(body)} }
