package embedmq

import (
	"strings"

	"github.com/go-msha/msha/internal/remoting"
)

// Names that brokers reserve.
const (
	autoCreateTopic = "TBW102"
	scheduleTopic   = "SCHEDULE_TOPIC_XXXX"
	halfTopic       = "RMQ_SYS_TRANS_HALF_TOPIC"
	retryPrefix     = "%RETRY%"
	dlqPrefix       = "%DLQ%"

	maxTopicLength = 127
	permInherit    = 1
	permWrite      = 2
	permRead       = 4
)

// topicConfig is the form of GET_TOPIC_CONFIG.
type topicConfig struct {
	Attributes map[string]string `json:"attributes"`
	Order      bool              `json:"order"`
	Perm       int               `json:"perm"`
	Read       int               `json:"readQueueNums"`
	Filter     string            `json:"topicFilterType"`
	Name       string            `json:"topicName"`
	SysFlag    int               `json:"topicSysFlag"`
	Write      int               `json:"writeQueueNums"`
}

func (b *broker) systemTopics() {
	add := func(name string, queues, perm int) {
		b.topics[name] = &topicConfig{Name: name, Read: queues, Write: queues, Perm: perm, Filter: "SINGLE_TAG", Attributes: map[string]string{}}
	}
	if *b.c.opts.AutoCreateTopics {
		add(autoCreateTopic, b.c.opts.DefaultQueues, permInherit|permRead|permWrite)
	}
	add(scheduleTopic, max(len(b.c.opts.DelayLevels), 1), permRead|permWrite)
	add(halfTopic, 1, permRead|permWrite)
	for _, name := range []string{"SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT", opTopic, b.name, b.c.opts.Cluster} {
		add(name, 1, permRead|permWrite)
	}
	add("BenchmarkTest", 1024, permRead|permWrite)
}

func (b *broker) isSystemTopic(name string) bool {
	switch name {
	case autoCreateTopic, scheduleTopic, halfTopic, "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT", opTopic,
		"BenchmarkTest", b.name, b.c.opts.Cluster:
		return true
	}
	return strings.HasPrefix(name, "rmq_sys_")
}

func (b *broker) setTopic(t *topicConfig) *topicConfig {
	if t.Filter == "" {
		t.Filter = "SINGLE_TAG"
	}
	if t.Attributes == nil {
		t.Attributes = map[string]string{}
	}
	b.topics[t.Name] = t
	b.journal.keepJSON(entryTopic, t)
	b.c.ns.register(b, t)
	return t
}

// backTopic finds or creates a retry or dead-letter topic.
func (b *broker) backTopic(name string, queues int) *topicConfig {
	if t := b.topics[name]; t != nil {
		return t
	}
	return b.setTopic(&topicConfig{Name: name, Read: queues, Write: queues, Perm: permRead | permWrite})
}

// sendTopic finds the topic of a send, creating it from the default topic if that one may be inherited; nil if there is none.
func (b *broker) sendTopic(name, defaultTopic string, queues int) *topicConfig {
	if t := b.topics[name]; t != nil {
		return t
	}
	if strings.HasPrefix(name, retryPrefix) {
		return b.backTopic(name, 1)
	}
	d := b.topics[defaultTopic]
	if d == nil || d.Perm&permInherit == 0 {
		return nil
	}
	n := max(min(queues, d.Write), 0)
	return b.setTopic(&topicConfig{Name: name, Read: n, Write: n, Perm: d.Perm &^ permInherit, SysFlag: d.SysFlag})
}

// checkTopicName answers an illegal name; nil if it is fine.
func (r *request) checkTopicName(name string, code int) *remoting.Command {
	if strings.TrimSpace(name) == "" {
		return r.fail(code, "The specified topic is blank.")
	}
	if len(name) > maxTopicLength {
		return r.fail(code, "The specified topic is longer than topic max length %d.", maxTopicLength)
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '%' || c == '|' || c == '_' || c == '-') {
			return r.fail(code, "The specified topic contains illegal characters, allowing only ^[%%|a-zA-Z0-9_-]+$")
		}
	}
	return nil
}
