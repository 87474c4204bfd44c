package remoting

import (
	"context"
	"errors"
	"sort"
	"strconv"
	"time"

	"github.com/go-msha/msha"
)

// TopicConfig is a topic's configuration at one broker.
type TopicConfig struct {
	Name        string
	Read, Write int // queues
	Perm        int // PermRead|PermWrite; 0: both
	Order       bool
	Attributes  string // RocketMQ 5: "+message.type=NORMAL,…"; empty: none
}

// CreateTopic creates or updates a topic at one broker and waits for the broker's answer.
func (c *Cluster) CreateTopic(ctx context.Context, addr string, t TopicConfig) error {
	if t.Perm == 0 {
		t.Perm = PermRead | PermWrite
	}
	ext := map[string]string{
		"topic": t.Name, "defaultTopic": "TBW102", "readQueueNums": strconv.Itoa(t.Read), "writeQueueNums": strconv.Itoa(t.Write),
		"perm": strconv.Itoa(t.Perm), "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": strconv.FormatBool(t.Order),
	}
	if t.Attributes != "" {
		ext["attributes"] = t.Attributes
	}
	_, err := c.callAddr(ctx, "create topic "+t.Name, addr, NewRequest(ReqUpdateAndCreateTopic, ext, nil))
	return err
}

// registering is how often name servers are asked for a topic that was just created: brokers tell them a little later.
const registering = 50 * time.Millisecond

// EnsureTopic creates a topic at each registered broker of which the name servers do not list it. It returns once they list all.
func (c *Cluster) EnsureTopic(ctx context.Context, t TopicConfig) error {
	created := map[string]bool{}
	for {
		missing, err := c.Brokers(ctx)
		if err != nil {
			return err
		}
		queues, err := c.Queues(ctx, t.Name, false)
		if err != nil && !errors.Is(err, msha.ErrNotFound) {
			return err
		}
		for _, q := range queues {
			delete(missing, q.Broker)
		}
		if len(missing) == 0 {
			return nil
		}
		for broker, addr := range missing {
			if !created[broker] {
				if err := c.CreateTopic(ctx, addr, t); err != nil {
					return err
				}
				created[broker] = true
			}
		}
		select {
		case <-time.After(registering):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// DeleteTopic deletes a topic at one broker and then at every name server.
func (c *Cluster) DeleteTopic(ctx context.Context, addr, topic string) error {
	ext := map[string]string{"topic": topic}
	if _, err := c.callAddr(ctx, "delete topic "+topic, addr, NewRequest(ReqDeleteTopicInBroker, ext, nil)); err != nil {
		return err
	}
	for _, ns := range c.nameServers {
		if _, err := c.callAddr(ctx, "delete topic "+topic, ns, NewRequest(ReqDeleteTopicInNameServer, ext, nil)); err != nil {
			return err
		}
	}
	return nil
}

type topicConfigJSON struct {
	TopicName      string `json:"topicName"`
	ReadQueueNums  int    `json:"readQueueNums"`
	WriteQueueNums int    `json:"writeQueueNums"`
	Perm           int    `json:"perm"`
	Order          bool   `json:"order"`
}

// TopicConfigs asks one broker for all its topics by name.
func (c *Cluster) TopicConfigs(ctx context.Context, addr string) (map[string]TopicConfig, error) {
	resp, err := c.callAddr(ctx, "topic configurations", addr, NewRequest(ReqGetAllTopicConfig, nil, nil))
	if err != nil {
		return nil, err
	}
	var j struct {
		Table map[string]topicConfigJSON `json:"topicConfigTable"`
	}
	if err := decodeJSON("topic configurations", resp.Body, &j); err != nil {
		return nil, err
	}
	out := make(map[string]TopicConfig, len(j.Table))
	for name, t := range j.Table {
		out[name] = TopicConfig{Name: name, Read: t.ReadQueueNums, Write: t.WriteQueueNums, Perm: t.Perm, Order: t.Order}
	}
	return out, nil
}

// TopicConfig asks one broker for one topic; ErrNotFound if it does not have it.
func (c *Cluster) TopicConfig(ctx context.Context, addr, topic string) (TopicConfig, error) {
	all, err := c.TopicConfigs(ctx, addr)
	if err != nil {
		return TopicConfig{}, err
	}
	t, ok := all[topic]
	if !ok {
		return t, &BrokerError{Op: "topic configuration of " + topic, Addr: addr, Code: RespTopicNotExist, Remark: "no such topic"}
	}
	return t, nil
}

// TopicList lists the topics the name server knows, sorted.
func (c *Cluster) TopicList(ctx context.Context) ([]string, error) {
	resp, err := c.askNameServer(ctx, "topic list", ReqGetAllTopicList, nil)
	if err != nil {
		return nil, err
	}
	var j struct {
		Topics []string `json:"topicList"`
	}
	if err := decodeJSON("topic list", resp.Body, &j); err != nil {
		return nil, err
	}
	sort.Strings(j.Topics)
	return j.Topics, nil
}
