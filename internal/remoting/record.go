package remoting

import (
	"bytes"
	"encoding/binary"
)

// Record is a stored message as it lies in a pull answer, for who passes it on: nothing is decoded that a copy does not need. Its slices
// alias the answer.
type Record struct {
	QueueOffset   int64
	BornTimestamp int64
	Flag, SysFlag int32
	Body          []byte
	Properties    []byte // encoded
	stored        []byte // from the magic on
}

// Message decodes the whole message; its body aliases the record's.
func (r *Record) Message() (*Message, error) { return decodeMessage(r.stored) }

// Size is what the record takes in the answer.
func (r *Record) Size() int { return 4 + len(r.stored) }

// DecodeRecords is DecodeMessages without the decoding: it accepts the same.
func DecodeRecords(b []byte) ([]Record, error) {
	return decodeStored(b, decodeRecord)
}

// countMessages walks over the sizes of stored messages.
func countMessages(b []byte) (n int, err error) {
	for len(b) > 0 {
		if len(b) < 8 {
			return 0, errMessage("%d bytes left", len(b))
		}
		size := int(int32(binary.BigEndian.Uint32(b)))
		if size < 8 || size > len(b) {
			return 0, errMessage("size %d in %d bytes", size, len(b))
		}
		b = b[size:]
		n++
	}
	return n, nil
}

func decodeRecord(b []byte) (Record, error) {
	r := reader{b: b}
	m := Record{stored: b}
	magic := int32(r.uint32())
	if magic != magicV1 && magic != magicV2 {
		return m, errMessage("magic %d", magic)
	}
	r.bytes(4) // CRC
	queue := int32(r.uint32())
	m.Flag = int32(r.uint32())
	m.QueueOffset = r.int64()
	r.bytes(8) // commit log offset
	m.SysFlag = int32(r.uint32())
	m.BornTimestamp = r.int64()
	r.bytes(hostSize(m.SysFlag&SysBornHostV6 != 0))
	r.bytes(8) // store timestamp
	r.bytes(hostSize(m.SysFlag&SysStoreHostV6 != 0))
	r.bytes(12) // reconsume times, prepared offset
	m.Body = r.bytes(int(int32(r.uint32())))
	if magic == magicV1 {
		r.bytes(int(r.uint8()))
	} else {
		r.bytes(int(r.uint16()))
	}
	m.Properties = r.bytes(int(r.uint16()))
	if r.failed || len(r.b) != 0 || queue < 0 {
		return m, errMessage("%d bytes do not hold their fields", len(b))
	}
	return m, nil
}

func hostSize(v6 bool) int {
	if v6 {
		return 20
	}
	return 8
}

// CutProperty splits encoded properties after the first one. What has no name is skipped, as DecodeProperties does; ok is false if there
// is none.
func CutProperty(b []byte) (name, value, rest []byte, ok bool) {
	for len(b) > 0 {
		var item []byte
		item, b, _ = bytes.Cut(b, []byte(valueEnd))
		if name, value, ok = bytes.Cut(item, []byte(nameEnd)); ok && len(name) > 0 {
			return name, value, b, true
		}
	}
	return nil, nil, nil, false
}

// AppendProperty appends an encoded property.
func AppendProperty[T string | []byte](dst []byte, name, value T) []byte {
	dst = append(dst, name...)
	dst = append(dst, nameEnd...)
	dst = append(dst, value...)
	return append(dst, valueEnd...)
}

// AppendBatchRecord appends one message of a batch send's body, as AppendBatchItem does; properties appends at most MaxProperties bytes.
func AppendBatchRecord(dst []byte, flag int32, body []byte, properties func(dst []byte) []byte) []byte {
	start := len(dst)
	be := binary.BigEndian
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = be.AppendUint32(dst, uint32(flag))
	dst = be.AppendUint32(dst, uint32(len(body)))
	dst = append(dst, body...)
	at := len(dst)
	dst = properties(append(dst, 0, 0))
	be.PutUint16(dst[at:], uint16(len(dst)-at-2))
	be.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}
