package remoting

import (
	"strings"
)

// denied tells a refusal by access control. RocketMQ 5 and topics without the permission answer NO_PERMISSION; RocketMQ 4 answers
// SYSTEM_ERROR and the name of its exception.
func denied(code int, remark string) bool {
	return code == RespNoPermission || code == RespSystemError && strings.Contains(remark, "AclException")
}

// refusal is the error of an answer by which access control refused the request; nil for any other. It must be looked at before the
// typed calls read a meaning into an answer: a refusal shares its code with "no such group" in RocketMQ 4.
func refusal(op, addr string, req, resp *Command) error {
	if !denied(resp.Code, resp.Remark) {
		return nil
	}
	return &BrokerError{Op: op, Addr: addr, Code: resp.Code, Remark: resp.Remark, Hint: hint(req, resp.Remark)}
}

func hint(req *Command, remark string) string {
	remark = strings.ToLower(remark)
	account := req.Ext[ExtAccessKey]
	switch {
	case strings.Contains(remark, "forbidden"), strings.Contains(remark, "subscription group no permission"):
		return "look at the permission bits of the topic and at consumeEnable of the group"
	case account == "":
		return "the cluster wants credentials and this client has none: set them where the process opens the unit's cluster"
	case strings.Contains(remark, "signature"):
		return "the secret key of account " + account + " is not the one the broker knows"
	case strings.Contains(remark, "not found"), strings.Contains(remark, "no acl config"), strings.Contains(remark, "no plainaccessresource"):
		return "the broker does not know account " + account
	}
	if need := rights(req); need != "" {
		return "account " + account + " needs " + need
	}
	return "account " + account + " lacks a right"
}

// rights says what a request needs, for the operator who has to grant it. RocketMQ 4 knows PUB, SUB and administrators only; where it asks
// for less than RocketMQ 5, what is said here is enough for both.
func rights(req *Command) string {
	ext := req.Ext
	topic, group := "topic "+ext["topic"], "group "+ext["consumerGroup"]
	switch req.Code {
	case ReqSendMessage:
		return publish(ext["topic"], ext["producerGroup"])
	case ReqSendMessageV2, ReqSendBatchMessage:
		return publish(ext["b"], ext["a"])
	case ReqPullMessage:
		return "SUB on " + topic + " and on " + group
	case ReqQueryConsumerOffset, ReqUpdateConsumerOffset:
		return "SUB on " + topic + " and on " + group
	case ReqGetMaxOffset, ReqGetMinOffset, ReqSearchOffsetByTimestamp, ReqGetTopicConfig, ReqGetTopicStats:
		return "GET on " + topic
	case ReqConsumerSendMsgBack:
		return "SUB on group " + ext["group"]
	case ReqGetConsumerListByGroup, ReqUnregisterClient:
		return "SUB on " + group
	case ReqGetConsumerConnections, ReqGetConsumeStats:
		return "GET on " + group
	case ReqHeartbeat, ReqLockBatchMQ, ReqUnlockBatchMQ:
		return "SUB on the group and on each of its topics"
	case ReqUpdateAndCreateTopic:
		return "CREATE on " + topic + " (RocketMQ 4: an account with admin: true)"
	case ReqDeleteTopicInBroker:
		return "DELETE on " + topic + " (RocketMQ 4: an account with admin: true)"
	case ReqUpdateAndCreateGroup, ReqDeleteGroup:
		return "an account that may create and delete groups (RocketMQ 4: admin: true)"
	}
	return ""
}

func publish(topic, group string) string {
	if strings.HasPrefix(topic, "%RETRY%") {
		return "SUB on group " + group
	}
	return "PUB on topic " + topic
}
