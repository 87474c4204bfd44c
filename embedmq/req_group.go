package embedmq

import (
	"encoding/json"
	"maps"

	"github.com/go-msha/msha/internal/remoting"
)

// groupConfig is the form of a subscription group's configuration.
type groupConfig struct {
	Name             string `json:"groupName"`
	ConsumeEnable    bool   `json:"consumeEnable"`
	FromMin          bool   `json:"consumeFromMinEnable"`
	Broadcast        bool   `json:"consumeBroadcastEnable"`
	Orderly          bool   `json:"consumeMessageOrderly"`
	RetryQueues      int    `json:"retryQueueNums"`
	RetryMaxTimes    int    `json:"retryMaxTimes"`
	BrokerID         int    `json:"brokerId"`
	WhenSlow         int    `json:"whichBrokerWhenConsumeSlowly"`
	NotifyIDsChanged bool   `json:"notifyConsumerIdsChangedEnable"`
	SysFlag          int    `json:"groupSysFlag"`
	Timeout          int    `json:"consumeTimeoutMinute"`
}

func newGroup(name string) *groupConfig {
	return &groupConfig{Name: name, ConsumeEnable: true, FromMin: true, Broadcast: true, RetryQueues: 1, RetryMaxTimes: 16,
		WhenSlow: 1, NotifyIDsChanged: true, Timeout: 15}
}

func (b *broker) systemGroups() {
	for _, name := range []string{"TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP", "CID_ONS-HTTP-PROXY",
		"CID_ONSAPI_PULL", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER", "CID_RMQ_SYS_TRANS"} {
		b.groups[name] = newGroup(name)
	}
}

// findGroup creates the group on first use.
func (b *broker) findGroup(name string) *groupConfig {
	g := b.groups[name]
	if g == nil {
		g = newGroup(name)
		b.groups[name] = g
		b.journal.keepJSON(entryGroup, g)
	}
	return g
}

// createGroup serves UPDATE_AND_CREATE_SUBSCRIPTIONGROUP.
func (b *broker) createGroup(r *request) *remoting.Command {
	g := newGroup("")
	if err := json.Unmarshal(r.cmd.Body, g); err != nil || g.Name == "" {
		return r.fail(remoting.RespSystemError, "subscription group does not decode: %v", err)
	}
	b.groups[g.Name] = g
	b.journal.keepJSON(entryGroup, g)
	return r.ok(nil)
}

// deleteGroup serves DELETE_SUBSCRIPTIONGROUP.
func (b *broker) deleteGroup(r *request) *remoting.Command {
	if bad := r.need("groupName"); bad != nil {
		return bad
	}
	b.dropGroup(r.str("groupName"), r.bool("cleanOffset"))
	b.journal.keep(entryNoGroup, nil, "group", r.str("groupName"), "cleanOffset", r.str("cleanOffset"))
	return r.ok(nil)
}

func (b *broker) dropGroup(name string, cleanOffset bool) {
	delete(b.groups, name)
	if cleanOffset {
		for k := range b.offsets {
			if k.group == name {
				delete(b.offsets, k)
			}
		}
		maps.DeleteFunc(b.resets, func(k offsetKey, _ int64) bool { return k.group == name })
	}
}

// allGroups serves GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
func (b *broker) allGroups(r *request) *remoting.Command {
	body, _ := json.Marshal(map[string]any{"dataVersion": dataVersion(len(b.groups)), "subscriptionGroupTable": b.groups})
	return r.body(body)
}
