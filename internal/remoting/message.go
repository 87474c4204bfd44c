package remoting

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
	"net/netip"
	"strings"

	"github.com/go-msha/msha"
)

// Message is a stored message, or one to be sent (then Topic, Flag, SysFlag, Body, Properties, BornTimestamp and ReconsumeTimes count).
type Message struct {
	Topic                                        string
	QueueID                                      int
	Flag, SysFlag                                int32
	Body                                         []byte // as stored: compressed if SysFlag says so; see PlainBody
	Properties                                   map[string]string
	QueueOffset, CommitLogOffset, PreparedOffset int64
	BornTimestamp, StoreTimestamp                int64 // milliseconds since 1970
	BornHost, StoreHost                          netip.AddrPort
	ReconsumeTimes                               int32
	BodyCRC                                      int32
}

// Bits of SysFlag.
const (
	SysCompressed      = 1
	SysMultiTags       = 1 << 1
	SysTransPrepared   = 1 << 2
	SysTransCommit     = 2 << 2
	SysTransRollback   = 3 << 2
	SysBornHostV6      = 1 << 4
	SysStoreHostV6     = 1 << 5
	SysCompressionMask = 7 << 8
)

const (
	magicV1 = -626843481 // topic length in one byte
	magicV2 = -626843477 // topic length in two bytes
)

func errMessage(format string, args ...any) error {
	return fmt.Errorf("remoting message: %w: %s", msha.ErrInvalid, fmt.Sprintf(format, args...))
}

// DecodeMessages decodes the body of a pull answer. Bodies alias b.
func DecodeMessages(b []byte) ([]*Message, error) {
	return decodeStored(b, decodeMessage)
}

// decodeStored decodes each of the stored messages; nil if there is none.
func decodeStored[T any](b []byte, decode func([]byte) (T, error)) ([]T, error) {
	n, err := countMessages(b)
	if n == 0 || err != nil {
		return nil, err
	}
	out := make([]T, n)
	for i := range out {
		size := binary.BigEndian.Uint32(b)
		if out[i], err = decode(b[4:size]); err != nil {
			return nil, err
		}
		b = b[size:]
	}
	return out, nil
}

func decodeMessage(b []byte) (*Message, error) {
	r := reader{b: b}
	m := &Message{}
	magic := int32(r.uint32())
	if magic != magicV1 && magic != magicV2 {
		return nil, errMessage("magic %d", magic)
	}
	m.BodyCRC = int32(r.uint32())
	m.QueueID = int(int32(r.uint32()))
	m.Flag = int32(r.uint32())
	m.QueueOffset = r.int64()
	m.CommitLogOffset = r.int64()
	m.SysFlag = int32(r.uint32())
	m.BornTimestamp = r.int64()
	m.BornHost = r.host(m.SysFlag&SysBornHostV6 != 0)
	m.StoreTimestamp = r.int64()
	m.StoreHost = r.host(m.SysFlag&SysStoreHostV6 != 0)
	m.ReconsumeTimes = int32(r.uint32())
	m.PreparedOffset = r.int64()
	m.Body = r.bytes(int(int32(r.uint32())))
	if magic == magicV1 {
		m.Topic = string(r.bytes(int(r.uint8())))
	} else {
		m.Topic = string(r.bytes(int(r.uint16())))
	}
	m.Properties = DecodeProperties(string(r.bytes(int(r.uint16()))))
	if r.failed || len(r.b) != 0 || m.QueueID < 0 {
		return nil, errMessage("%d bytes do not hold their fields", len(b))
	}
	return m, nil
}

func (r *reader) host(v6 bool) netip.AddrPort {
	n := 4
	if v6 {
		n = 16
	}
	addr, _ := netip.AddrFromSlice(r.bytes(n))
	return netip.AddrPortFrom(addr, uint16(r.uint32()))
}

func appendHost(dst []byte, h netip.AddrPort, v6 bool) []byte {
	switch {
	case v6:
		a := h.Addr().As16()
		dst = append(dst, a[:]...)
	case h.Addr().Is4() || h.Addr().Is4In6():
		a := h.Addr().Unmap().As4()
		dst = append(dst, a[:]...)
	default:
		dst = append(dst, 0, 0, 0, 0)
	}
	return binary.BigEndian.AppendUint32(dst, uint32(h.Port()))
}

// AppendMessage appends the stored form of m with the magic its topic's length needs; BodyCRC is computed.
func AppendMessage(dst []byte, m *Message) []byte {
	start := len(dst)
	magic := int32(magicV1)
	if len(m.Topic) > math.MaxInt8 {
		magic = magicV2
	}
	be := binary.BigEndian
	dst = append(dst, 0, 0, 0, 0)
	dst = be.AppendUint32(dst, uint32(magic))
	dst = be.AppendUint32(dst, crc32.ChecksumIEEE(m.Body)&math.MaxInt32)
	dst = be.AppendUint32(dst, uint32(m.QueueID))
	dst = be.AppendUint32(dst, uint32(m.Flag))
	dst = be.AppendUint64(dst, uint64(m.QueueOffset))
	dst = be.AppendUint64(dst, uint64(m.CommitLogOffset))
	dst = be.AppendUint32(dst, uint32(m.SysFlag))
	dst = be.AppendUint64(dst, uint64(m.BornTimestamp))
	dst = appendHost(dst, m.BornHost, m.SysFlag&SysBornHostV6 != 0)
	dst = be.AppendUint64(dst, uint64(m.StoreTimestamp))
	dst = appendHost(dst, m.StoreHost, m.SysFlag&SysStoreHostV6 != 0)
	dst = be.AppendUint32(dst, uint32(m.ReconsumeTimes))
	dst = be.AppendUint64(dst, uint64(m.PreparedOffset))
	dst = be.AppendUint32(dst, uint32(len(m.Body)))
	dst = append(dst, m.Body...)
	if magic == magicV1 {
		dst = append(dst, byte(len(m.Topic)))
	} else {
		dst = be.AppendUint16(dst, uint16(len(m.Topic)))
	}
	dst = append(dst, m.Topic...)
	props := EncodeProperties(m.Properties)
	dst = be.AppendUint16(dst, uint16(len(props)))
	dst = append(dst, props...)
	be.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// AppendBatchItem appends one message of a batch send's body.
func AppendBatchItem(dst []byte, m *Message) []byte {
	start := len(dst)
	be := binary.BigEndian
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = be.AppendUint32(dst, uint32(m.Flag))
	dst = be.AppendUint32(dst, uint32(len(m.Body)))
	dst = append(dst, m.Body...)
	props := EncodeProperties(m.Properties)
	dst = be.AppendUint16(dst, uint16(len(props)))
	dst = append(dst, props...)
	be.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// DecodeBatch decodes a batch send's body into messages with flag, body and properties. Bodies alias b.
func DecodeBatch(b []byte) ([]*Message, error) {
	var out []*Message
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, errMessage("%d bytes left of a batch", len(b))
		}
		size := int(int32(binary.BigEndian.Uint32(b)))
		if size < 4 || size > len(b) {
			return nil, errMessage("batch item of %d in %d bytes", size, len(b))
		}
		r := reader{b: b[4:size]}
		r.bytes(8) // magic and CRC, which producers leave zero
		m := &Message{Flag: int32(r.uint32())}
		m.Body = r.bytes(int(int32(r.uint32())))
		m.Properties = DecodeProperties(string(r.bytes(int(r.uint16()))))
		if r.failed || len(r.b) != 0 {
			return nil, errMessage("batch item of %d bytes does not hold its fields", size)
		}
		out = append(out, m)
		b = b[size:]
	}
	return out, nil
}

// MessageID is the offset message id: the broker's address and the position in its commit log.
func MessageID(host netip.AddrPort, commitLogOffset int64) string {
	b := appendHost(nil, host, host.Addr().Is6() && !host.Addr().Is4In6())
	return strings.ToUpper(hex.EncodeToString(binary.BigEndian.AppendUint64(b, uint64(commitLogOffset))))
}

// ParseMessageID is the inverse of MessageID.
func ParseMessageID(id string) (netip.AddrPort, int64, error) {
	b, err := hex.DecodeString(id)
	if err != nil || (len(b) != 16 && len(b) != 28) {
		return netip.AddrPort{}, 0, errMessage("id %.80q", id)
	}
	r := reader{b: b}
	host, off := r.host(len(b) == 28), r.int64()
	if !strings.EqualFold(MessageID(host, off), id) { // a port that cannot be one, or an IPv4 address in the IPv6 form
		return netip.AddrPort{}, 0, errMessage("id %.80q", id)
	}
	return host, off, nil
}
