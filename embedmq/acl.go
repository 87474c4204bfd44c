package embedmq

import (
	"encoding/json"
	"strings"

	"github.com/go-msha/msha/internal/remoting"
)

// Right is what an account may do with a topic or a group.
type Right int

// The rights. They combine: Pub|Sub.
const (
	Deny Right = 0
	Pub  Right = 1
	Sub  Right = 2
)

// ParseRight reads a right as plain_acl.yml spells it: PUB, SUB, PUB|SUB, DENY. What it does not know gives no right.
func ParseRight(s string) (r Right) {
	for _, part := range strings.Split(s, "|") {
		switch strings.TrimSpace(part) {
		case "PUB":
			r |= Pub
		case "SUB":
			r |= Sub
		}
	}
	return r
}

// Account may use a cluster with access control, in the manner of conf/plain_acl.yml. Besides: reading a topic's offsets and
// configuration takes any right on it; creating and deleting topics and groups takes an administrator; lists of all topics, groups and
// offsets, and the name server, are open to every account, as they are on real servers.
type Account struct {
	AccessKey, SecretKey string
	Admin                bool             // may do everything
	Topics, Groups       map[string]Right // by name; "*" stands for all that are not listed
}

// need is one right a request takes.
type need struct {
	topic, group string // one of them
	any          Right  // one of these bits is enough
}

// adminRequests need an administrator.
var adminRequests = map[int]bool{remoting.ReqUpdateAndCreateTopic: true, remoting.ReqDeleteTopicInBroker: true,
	remoting.ReqUpdateAndCreateGroup: true, remoting.ReqDeleteGroup: true}

// refuse answers a request that access control does not let pass, as RocketMQ 5 does; nil if it may be served.
func (o *Options) refuse(r *request) *remoting.Command {
	if o.Accounts == nil {
		return nil
	}
	name := r.str(remoting.ExtAccessKey)
	if name == "" {
		return r.fail(remoting.RespNoPermission, "username cannot be null.")
	}
	var account *Account
	for i := range o.Accounts {
		if o.Accounts[i].AccessKey == name {
			account = &o.Accounts[i]
		}
	}
	switch {
	case account == nil:
		return r.fail(remoting.RespNoPermission, "User:%s is not found.", name)
	case !remoting.Signed(r.cmd, account.SecretKey):
		return r.fail(remoting.RespNoPermission, "check signature failed.")
	case account.Admin:
		return nil
	case adminRequests[r.cmd.Code]:
		return r.fail(remoting.RespNoPermission, "User:%s has no permission to access Cluster:%s from %s, no matched policies.", name, o.Cluster, peer(r.conn).Addr())
	}
	for _, n := range r.needs() {
		if !account.has(n) {
			what := "Topic:" + n.topic
			if n.group != "" {
				what = "Group:" + n.group
			}
			return r.fail(remoting.RespNoPermission, "User:%s has no permission to access %s from %s, no matched policies.", name, what, peer(r.conn).Addr())
		}
	}
	return nil
}

func (a *Account) has(n need) bool {
	rights, name := a.Topics, n.topic
	if n.group != "" {
		rights, name = a.Groups, n.group
	}
	right, ok := rights[name]
	if !ok {
		right = rights["*"]
	}
	return right&n.any != 0
}

// needs lists the rights a request takes. A retry topic belongs to its group.
func (r *request) needs() (all []need) {
	topic := func(name string, any Right) {
		if group, ok := strings.CutPrefix(name, retryPrefix); ok {
			all = append(all, need{group: group, any: Sub})
		} else if name != "" {
			all = append(all, need{topic: name, any: any})
		}
	}
	group := func(name string) {
		if name != "" {
			all = append(all, need{group: name, any: Sub})
		}
	}
	send := func(name, producers string) {
		if strings.HasPrefix(name, retryPrefix) {
			name = retryPrefix + producers // real servers look at the group in whose name it is sent
		}
		topic(name, Pub)
	}
	switch r.cmd.Code {
	case remoting.ReqSendMessage:
		send(r.str("topic"), r.str("producerGroup"))
	case remoting.ReqSendMessageV2, remoting.ReqSendBatchMessage:
		send(r.str("b"), r.str("a"))
	case remoting.ReqEndTransaction:
		topic(r.str("topic"), Pub)
	case remoting.ReqPullMessage, remoting.ReqQueryConsumerOffset, remoting.ReqUpdateConsumerOffset:
		topic(r.str("topic"), Sub)
		group(r.str("consumerGroup"))
	case remoting.ReqGetMaxOffset, remoting.ReqGetMinOffset, remoting.ReqSearchOffsetByTimestamp, remoting.ReqGetTopicConfig, remoting.ReqGetTopicStats:
		topic(r.str("topic"), Pub|Sub)
	case remoting.ReqConsumerSendMsgBack:
		group(r.str("group"))
	case remoting.ReqGetConsumerListByGroup, remoting.ReqGetConsumerConnections, remoting.ReqGetConsumeStats, remoting.ReqUnregisterClient:
		group(r.str("consumerGroup"))
	case remoting.ReqHeartbeat:
		var h heartbeatData
		_ = json.Unmarshal(r.cmd.Body, &h) // the handler reports
		for _, c := range h.Consumers {
			group(c.Group)
			for _, s := range c.Subs {
				topic(s.Topic, Sub)
			}
		}
	case remoting.ReqLockBatchMQ, remoting.ReqUnlockBatchMQ:
		var l lockRequest
		_ = json.Unmarshal(r.cmd.Body, &l) // the handler reports
		group(l.Group)
		for _, q := range l.Queues {
			topic(q.Topic, Sub)
		}
	}
	return all
}
