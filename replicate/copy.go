package replicate

import (
	"bytes"
	"maps"
	"strconv"
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

func isDropped(name []byte) bool {
	return dropped[string(name)] || bytes.HasPrefix(name, []byte("TIMER_"))
}

// keptFlags are those that say how to read the body and the tags.
const keptFlags = remoting.SysCompressed | remoting.SysCompressionMask | remoting.SysMultiTags

// copyOf is the message stored in the replica queue: body, flag, compression, keys, tags, UNIQ_KEY and user properties as they are, and
// the identity.
func copyOf(m *remoting.Message, from msha.OriginQueue, replica string) *remoting.Message {
	props := maps.Clone(m.Properties)
	for name := range props {
		if isDropped([]byte(name)) {
			delete(props, name)
		}
	}
	if props[msha.PropertyUnit] == "" {
		props[msha.PropertyUnit] = from.Unit
	}
	props[msha.PropertyOrigin] = msha.Origin{OriginQueue: from, Offset: m.QueueOffset}.Encode()
	return &remoting.Message{
		Topic: replica, Flag: m.Flag, SysFlag: m.SysFlag & keptFlags,
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

// copier writes the batch items of copyOf straight from what the origin has stored: a body is touched once, and properties stay as they are
// encoded but for those that are dropped or added. It is for one goroutine.
type copier struct {
	from        msha.OriginQueue // as of prefix
	prefix      string           // of the encoded identity, up to the offset
	incarnation func(offset int64) msha.OriginQueue
}

func newCopier(incarnation func(offset int64) msha.OriginQueue) *copier {
	c := &copier{incarnation: incarnation}
	c.at(0)
	return c
}

// at prepares for the message at an offset.
func (c *copier) at(offset int64) {
	if from := c.incarnation(offset); from != c.from {
		c.from = from
		c.prefix = strings.TrimSuffix(msha.Origin{OriginQueue: from}.Encode(), "0")
	}
}

// size is what an item takes at most.
func (c *copier) size(m *remoting.Record) int { return len(m.Body) + c.propertiesSize(m) + perMessage }

func (c *copier) propertiesSize(m *remoting.Record) int {
	const digits, separators = 19, 5 // the last property may lack its own
	return len(m.Properties) + len(msha.PropertyUnit) + len(c.from.Unit) + len(msha.PropertyOrigin) + len(c.prefix) + digits + separators
}

// fits reports whether a message can be written; else it is one for copyOf.
func (c *copier) fits(m *remoting.Record) bool {
	c.at(m.QueueOffset)
	return m.SysFlag&keptFlags == 0 && c.propertiesSize(m) <= remoting.MaxProperties && c.size(m) <= maxBatch
}

// write appends the item of a message that fits.
func (c *copier) write(dst []byte, m *remoting.Record) []byte {
	c.at(m.QueueOffset)
	return remoting.AppendBatchRecord(dst, m.Flag, m.Body, func(dst []byte) []byte {
		unit := false
		name, value, rest, ok := remoting.CutProperty(m.Properties)
		for ; ok; name, value, rest, ok = remoting.CutProperty(rest) {
			if isDropped(name) || string(name) == msha.PropertyOrigin {
				continue
			}
			if string(name) == msha.PropertyUnit {
				if unit = len(value) > 0; !unit {
					continue
				}
			}
			dst = remoting.AppendProperty(dst, name, value)
		}
		if !unit {
			dst = remoting.AppendProperty(dst, msha.PropertyUnit, c.from.Unit)
		}
		dst = append(dst, msha.PropertyOrigin+"\x01"...)
		dst = append(dst, c.prefix...)
		dst = strconv.AppendInt(dst, m.QueueOffset, 10)
		return append(dst, '\x02')
	})
}
