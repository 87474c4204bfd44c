package replicate

import (
	"maps"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// dropped are properties that would make the target broker treat the copy as something else: a half message, a delayed one.
var dropped = map[string]bool{
	"MIN_OFFSET": true, "MAX_OFFSET": true, "CONSUME_START_TIME": true, "TRAN_MSG": true, "DELAY": true, "REAL_TOPIC": true, "REAL_QID": true,
	msha.PropertyRetry: true,
	"__CRC32#":         true, // the checksum of the stored properties, which the target makes anew
}

// copyOf is the message stored in the replica queue: body, flag, compression, keys, tags, UNIQ_KEY and user properties as they are, and
// the identity.
func copyOf(m *remoting.Message, from msha.OriginQueue, replica string) *remoting.Message {
	props := maps.Clone(m.Properties)
	for name := range props {
		if dropped[name] || strings.HasPrefix(name, "TIMER_") {
			delete(props, name)
		}
	}
	if props[msha.PropertyUnit] == "" {
		props[msha.PropertyUnit] = from.Unit
	}
	props[msha.PropertyOrigin] = msha.Origin{OriginQueue: from, Offset: m.QueueOffset}.Encode()
	return &remoting.Message{
		Topic: replica, Flag: m.Flag, SysFlag: m.SysFlag & (remoting.SysCompressed | remoting.SysCompressionMask | remoting.SysMultiTags),
		Body: m.Body, Properties: props, BornTimestamp: m.BornTimestamp,
	}
}

// perMessage is about what a batch item needs beyond body and properties.
const perMessage = 64

func itemSize(m *remoting.Message) int {
	n := len(m.Body) + perMessage
	for k, v := range m.Properties {
		n += len(k) + len(v) + 2
	}
	return n
}

// maxBatch is RocketMQ's default limit of a batch; a single body may be as large without its properties.
const maxBatch = 4 << 20

func fitsBatch(m *remoting.Message) bool { return m.SysFlag == 0 && itemSize(m) <= maxBatch }

// batches cuts messages into sends: a batch item has no compression flag, so a compressed message goes alone; so does a large
// one.
func batches(ms []*remoting.Message, maxMessages, maxBytes int) [][]*remoting.Message {
	var out [][]*remoting.Message
	var cur []*remoting.Message
	size := 0
	flush := func() {
		if len(cur) > 0 {
			out = append(out, cur)
		}
		cur, size = nil, 0
	}
	for _, m := range ms {
		n := itemSize(m)
		if !fitsBatch(m) {
			flush()
			out = append(out, []*remoting.Message{m})
			continue
		}
		if len(cur) == maxMessages || size+n > maxBytes {
			flush()
		}
		cur = append(cur, m)
		size += n
	}
	flush()
	return out
}
