package remoting

import (
	"context"
	"encoding/json"
	"errors"
	"sort"

	"github.com/go-msha/msha"
)

// HeartbeatData registers a client's consumers and producers at a broker.
type HeartbeatData struct {
	ClientID  string         `json:"clientID"`
	Producers []ProducerData `json:"producerDataSet"`
	Consumers []ConsumerData `json:"consumerDataSet"`
}

// ProducerData is one producer group.
type ProducerData struct {
	GroupName string `json:"groupName"`
}

// ConsumerData is one consumer group of a client. Values of Type, Model and From are RocketMQ's names.
type ConsumerData struct {
	GroupName     string             `json:"groupName"`
	Type          string             `json:"consumeType"`      // CONSUME_PASSIVELY for a push consumer
	Model         string             `json:"messageModel"`     // CLUSTERING | BROADCASTING
	From          string             `json:"consumeFromWhere"` // CONSUME_FROM_LAST_OFFSET, …
	Subscriptions []SubscriptionData `json:"subscriptionDataSet"`
	UnitMode      bool               `json:"unitMode"`
}

// SubscriptionData is one subscribed topic.
type SubscriptionData struct {
	ClassFilterMode bool     `json:"classFilterMode"`
	Topic           string   `json:"topic"`
	SubString       string   `json:"subString"`
	Tags            []string `json:"tagsSet"`
	Codes           []int32  `json:"codeSet"` // TagHash of each tag
	SubVersion      int64    `json:"subVersion"`
	ExpressionType  string   `json:"expressionType"` // TAG | SQL92
}

// SQL92 is the expression type that filters by properties.
const SQL92 = "SQL92"

// TagHash is Java's String.hashCode, by which brokers filter tags.
func TagHash(tag string) int32 {
	var h int32
	for _, r := range tag {
		if r >= 0x10000 { // a surrogate pair in Java
			r -= 0x10000
			h = 31*(31*h+int32(0xd800+r>>10)) + int32(0xdc00+r&0x3ff)
			continue
		}
		h = 31*h + int32(r)
	}
	return h
}

// Heartbeat registers a client at one broker.
func (c *Cluster) Heartbeat(ctx context.Context, addr string, h *HeartbeatData) error {
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	_, err = c.callAddr(ctx, "heartbeat", addr, NewRequest(ReqHeartbeat, nil, body))
	return err
}

// CheckSubscription asks one broker whether it can filter by a subscription; ErrFilter if not. What passes here is all that a broker
// says about an expression: one it cannot read makes no heartbeat fail, and a pull that brings it gets every message there is.
func (c *Cluster) CheckSubscription(ctx context.Context, addr, clientID, group string, s SubscriptionData) error {
	body, err := json.Marshal(map[string]any{"clientId": clientID, "group": group, "subscriptionData": s})
	if err != nil {
		return err
	}
	_, err = c.callAddr(ctx, "check subscription of "+s.Topic, addr, NewRequest(ReqCheckClientConfig, nil, body))
	return err
}

// Unregister removes a client from a consumer group at one broker.
func (c *Cluster) Unregister(ctx context.Context, addr, clientID, group string) error {
	_, err := c.callAddr(ctx, "unregister "+clientID, addr, NewRequest(ReqUnregisterClient, map[string]string{"clientID": clientID, "consumerGroup": group}, nil))
	return err
}

// ConsumerIDs lists the client ids of a group at one broker, sorted; none if the broker does not know the group.
func (c *Cluster) ConsumerIDs(ctx context.Context, addr, group string) ([]string, error) {
	resp, err := c.callAddr(ctx, "consumer list of "+group, addr, NewRequest(ReqGetConsumerListByGroup, map[string]string{"consumerGroup": group}, nil))
	var be *BrokerError
	if errors.As(err, &be) && be.Code == RespSystemError && !errors.Is(err, msha.ErrDenied) { // RocketMQ 4 refuses with the same code
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var j struct {
		IDs []string `json:"consumerIdList"`
	}
	if err := decodeJSON("consumer list", resp.Body, &j); err != nil {
		return nil, err
	}
	sort.Strings(j.IDs)
	return j.IDs, nil
}

// ConsumerConnections is who consumes in a group at one broker.
type ConsumerConnections struct {
	Connections []Connection `json:"connectionSet"`
}

// Connection is one client of a group.
type Connection struct {
	ClientID   string `json:"clientId"`
	ClientAddr string `json:"clientAddr"`
	Language   string `json:"language"`
	Version    int    `json:"version"`
}

// ConsumerConnections lists a group's connections at one broker; none if nobody is connected.
func (c *Cluster) ConsumerConnections(ctx context.Context, addr, group string) (*ConsumerConnections, error) {
	resp, err := c.callAddr(ctx, "consumer connections of "+group, addr, NewRequest(ReqGetConsumerConnections, map[string]string{"consumerGroup": group}, nil))
	var be *BrokerError
	if errors.As(err, &be) && be.Code == RespConsumerNotOnline {
		return &ConsumerConnections{}, nil
	}
	if err != nil {
		return nil, err
	}
	out := &ConsumerConnections{}
	return out, decodeJSON("consumer connections", resp.Body, out)
}

// GroupConfig configures a consumer group at a broker; the zero value of the numbers takes RocketMQ's defaults.
type GroupConfig struct {
	Name          string
	RetryQueues   int // 0: 1
	RetryMaxTimes int // 0: 16
}

// CreateGroup creates or updates a consumer group at one broker.
func (c *Cluster) CreateGroup(ctx context.Context, addr string, g GroupConfig) error {
	if g.RetryQueues == 0 {
		g.RetryQueues = 1
	}
	if g.RetryMaxTimes == 0 {
		g.RetryMaxTimes = 16
	}
	body, err := json.Marshal(map[string]any{
		"groupName": g.Name, "consumeEnable": true, "consumeFromMinEnable": true, "consumeBroadcastEnable": true,
		"retryQueueNums": g.RetryQueues, "retryMaxTimes": g.RetryMaxTimes, "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1,
		"notifyConsumerIdsChangedEnable": true,
	})
	if err != nil {
		return err
	}
	_, err = c.callAddr(ctx, "create group "+g.Name, addr, NewRequest(ReqUpdateAndCreateGroup, nil, body))
	return err
}

// Groups lists the consumer groups configured at one broker, sorted.
func (c *Cluster) Groups(ctx context.Context, addr string) ([]string, error) {
	resp, err := c.callAddr(ctx, "groups", addr, NewRequest(ReqGetAllGroups, nil, nil))
	if err != nil {
		return nil, err
	}
	var j struct {
		Table map[string]json.RawMessage `json:"subscriptionGroupTable"`
	}
	if err := decodeJSON("groups", resp.Body, &j); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(j.Table))
	for name := range j.Table {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}
