package replicate

import (
	"path"
	"regexp"
	"strings"

	"github.com/go-msha/msha"
)

// maxTopic is RocketMQ's limit of a topic's name.
const maxTopic = 127

var legalTopic = regexp.MustCompile(`^[%|a-zA-Z0-9_-]+$`)

// ReplicaName is the name of the replica topic, checked: ErrTooLarge or ErrInvalid if a broker would refuse it.
func ReplicaName(topic, origin string) (string, error) {
	name := msha.ReplicaTopic(topic, origin)
	if len(name) > maxTopic {
		return "", msha.Errorf("replicate.name", name, "shorten the unit's or the topic's name", "replica topic %w: %d characters, the limit is %d", msha.ErrTooLarge, len(name), maxTopic)
	}
	if !legalTopic.MatchString(name) {
		return "", msha.Errorf("replicate.name", name, "use letters, digits, _, - and %", "replica topic %w: illegal character", msha.ErrInvalid)
	}
	return name, nil
}

// systemTopics belong to a cluster itself.
var systemTopics = map[string]bool{
	"TBW102": true, "AUTO_CREATE_TOPIC_KEY": true, "SELF_TEST_TOPIC": true, "BenchmarkTest": true, "OFFSET_MOVED_EVENT": true,
	"SCHEDULE_TOPIC_XXXX": true, "TRANS_CHECK_MAX_TIME_TOPIC": true, "rmq_sys_wheel_timer": true,
}

// systemGroups exist in every cluster. They consume nothing that is copied, and an account need not have a right on them.
var systemGroups = map[string]bool{
	"DEFAULT_CONSUMER": true, "TOOLS_CONSUMER": true, "SCHEDULE_CONSUMER": true, "FILTERSRV_CONSUMER": true, "__MONITOR_CONSUMER": true,
	"SELF_TEST_C_GROUP": true, "CID_ONS-HTTP-PROXY": true, "CID_ONSAPI_PERMISSION": true, "CID_ONSAPI_OWNER": true, "CID_ONSAPI_PULL": true,
}

func systemGroup(name string) bool {
	return systemGroups[name] || strings.HasPrefix(name, "CID_RMQ_SYS_")
}

// copied decides whether a topic of the origin is copied: allowed by a pattern, denied by none, and a home topic. The facts log is
// always copied.
func copied(topic string, allow, deny, units []string, brokers map[string]string, cluster map[string]bool) bool {
	if topic == msha.ProgressTopic {
		return true
	}
	if systemTopics[topic] || strings.HasPrefix(topic, "RMQ_SYS_") || strings.HasPrefix(topic, "rmq_sys_") ||
		strings.HasPrefix(topic, "%") || strings.HasPrefix(topic, "MSHA_") || strings.HasSuffix(topic, "_REPLY_TOPIC") {
		return false
	}
	if _, own := brokers[topic]; own || cluster[topic] {
		return false // every broker has a topic of its own name
	}
	for _, u := range units {
		if strings.HasSuffix(topic, msha.ReplicaTopic("", u)) {
			return false
		}
	}
	return matches(topic, allow) && !matches(topic, deny)
}

func matches(topic string, patterns []string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, topic); ok && err == nil {
			return true
		}
	}
	return false
}
