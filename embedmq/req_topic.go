package embedmq

import (
	"encoding/json"
	"maps"
	"strings"

	"github.com/go-msha/msha/internal/remoting"
)

// createTopic serves UPDATE_AND_CREATE_TOPIC.
func (b *broker) createTopic(r *request) *remoting.Command {
	if bad := r.need("topic", "readQueueNums", "writeQueueNums", "perm"); bad != nil {
		return bad
	}
	name := r.str("topic")
	if bad := r.checkTopicName(name, remoting.RespSystemError); bad != nil {
		return bad
	}
	if b.isSystemTopic(name) {
		return r.fail(remoting.RespSystemError, "The topic[%s] is conflict with system topic.", name)
	}
	t := &topicConfig{Name: name, Read: r.int("readQueueNums"), Write: r.int("writeQueueNums"), Perm: r.int("perm"),
		Filter: r.str("topicFilterType"), SysFlag: r.int("topicSysFlag"), Order: r.bool("order"), Attributes: map[string]string{}}
	for _, kv := range strings.Split(r.str("attributes"), ",") {
		if k, v, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(kv), "+"), "="); ok {
			t.Attributes[k] = v
		}
	}
	b.setTopic(t)
	return r.ok(nil)
}

// deleteTopic serves DELETE_TOPIC_IN_BROKER. The name server keeps the route until it is told too.
func (b *broker) deleteTopic(r *request) *remoting.Command {
	if bad := r.need("topic"); bad != nil {
		return bad
	}
	name := r.str("topic")
	if strings.TrimSpace(name) == "" {
		return r.fail(remoting.RespSystemError, "The specified topic is blank.")
	}
	if b.isSystemTopic(name) {
		return r.fail(remoting.RespSystemError, "The topic[%s] is conflict with system topic.", name)
	}
	b.dropTopic(name)
	b.journal.keep(entryNoTopic, nil, "topic", name)
	return r.ok(nil)
}

func (b *broker) dropTopic(name string) {
	delete(b.topics, name)
	for _, q := range b.queues[name] {
		q.recs = nil
		b.touch(q)
	}
	delete(b.queues, name)
	for k := range b.offsets {
		if k.topic == name {
			delete(b.offsets, k)
		}
	}
	maps.DeleteFunc(b.resets, func(k offsetKey, _ int64) bool { return k.topic == name })
	b.compact()
}

// getTopicConfig serves GET_TOPIC_CONFIG.
func (b *broker) getTopicConfig(r *request) *remoting.Command {
	if bad := r.need("topic"); bad != nil {
		return bad
	}
	t := b.topics[r.str("topic")]
	if t == nil {
		return r.fail(remoting.RespTopicNotExist, "No topic in this broker. topic: %s", r.str("topic"))
	}
	body, _ := json.Marshal(t)
	return r.body(body)
}

// allTopicConfig serves GET_ALL_TOPIC_CONFIG.
func (b *broker) allTopicConfig(r *request) *remoting.Command {
	body, _ := json.Marshal(map[string]any{"dataVersion": dataVersion(len(b.topics)), "topicConfigTable": b.topics})
	return r.body(body)
}

func dataVersion(n int) map[string]any {
	return map[string]any{"counter": n, "stateVersion": 0, "timestamp": 0}
}
