package filter

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/go-msha/msha"
)

// A log body: magic, version, number of records, records. A record: kind, bits of the fields present (in the order of fieldList),
// fields. Integers are varints, strings are length-prefixed. Fields that are zero are absent, so each list has one encoding.
const (
	codecMagic   = 0xF5
	codecVersion = 1
	// MaxRecords bounds the records of one body.
	MaxRecords = 1 << 16
)

type field uint64

const (
	fGroup field = 1 << iota
	fSet
	fTerm
	fQueue
	fOffset
	fSpans
	fNext
	fHash
	fNumber
	fAttempt
	fWriter
	fClient
	fMsgID
	fUniqKey
	fLocal
	fVersion
	fLogOffset
	fChunk
	fChunks
	fRecords
	fEnd
)

// EncodeRecords gives the body of one progress message. Records must be valid; what DecodeRecords would refuse is not checked here.
func EncodeRecords(rs []Record) []byte {
	b := []byte{codecMagic, codecVersion}
	return appendRecords(b, rs)
}

func appendRecords(b []byte, rs []Record) []byte {
	b = binary.AppendUvarint(b, uint64(len(rs)))
	for i := range rs {
		b = appendRecord(b, &rs[i])
	}
	return b
}

func (r *Record) fields() field {
	var f field
	set := func(bit field, present bool) {
		if present {
			f |= bit
		}
	}
	set(fGroup, r.Group != "")
	set(fSet, r.Set != "")
	set(fTerm, r.Term != 0)
	set(fQueue, r.Queue != msha.OriginQueue{})
	set(fOffset, r.Offset != 0)
	set(fSpans, len(r.Spans) > 0)
	set(fNext, r.Next != 0)
	set(fHash, r.Hash != "")
	set(fNumber, r.Number != "")
	set(fAttempt, r.Attempt != 0)
	set(fWriter, r.Writer != "")
	set(fClient, r.Client != "")
	set(fMsgID, r.MsgID != "")
	set(fUniqKey, r.UniqKey != "")
	set(fLocal, r.Local != LocalQueue{})
	set(fVersion, r.Version != 0)
	set(fLogOffset, r.LogOffset != 0)
	set(fChunk, r.Chunk != 0)
	set(fChunks, r.Chunks != 0)
	set(fRecords, len(r.Records) > 0)
	return f
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendRecord(b []byte, r *Record) []byte {
	f := r.fields()
	b = append(b, byte(r.Kind))
	b = binary.AppendUvarint(b, uint64(f))
	for bit := field(1); bit < fEnd; bit <<= 1 {
		if f&bit == 0 {
			continue
		}
		if s := r.text(bit); s != nil {
			b = appendString(b, *s)
			continue
		}
		switch bit {
		case fQueue:
			b = appendString(appendString(appendString(b, r.Queue.Unit), r.Queue.Broker), r.Queue.Topic)
			b = binary.AppendUvarint(b, uint64(r.Queue.Queue))
			b = binary.AppendUvarint(b, uint64(r.Queue.Incarnation))
		case fLocal:
			b = appendString(appendString(b, r.Local.Topic), r.Local.Broker)
			b = binary.AppendUvarint(b, uint64(r.Local.ID))
		case fSpans:
			b = appendSpans(b, r.Spans)
		case fRecords:
			b = appendRecords(b, r.Records)
		case fTerm:
			b = binary.AppendUvarint(b, r.Term)
		case fVersion:
			b = binary.AppendUvarint(b, r.Version)
		default:
			b = binary.AppendUvarint(b, uint64(r.number(bit)))
		}
	}
	return b
}

// appendSpans writes the distances between the bounds.
func appendSpans(b []byte, o Offsets) []byte {
	b = binary.AppendUvarint(b, uint64(len(o)))
	last := int64(0)
	for _, s := range o {
		b = binary.AppendUvarint(b, uint64(s.From-last))
		b = binary.AppendUvarint(b, uint64(s.To-s.From))
		last = s.To
	}
	return b
}

// text points to the string field of a bit, or is nil.
func (r *Record) text(bit field) *string {
	switch bit {
	case fGroup:
		return &r.Group
	case fSet:
		return &r.Set
	case fHash:
		return &r.Hash
	case fNumber:
		return &r.Number
	case fWriter:
		return &r.Writer
	case fClient:
		return &r.Client
	case fMsgID:
		return &r.MsgID
	case fUniqKey:
		return &r.UniqKey
	}
	return nil
}

func (r *Record) number(bit field) int64 {
	switch bit {
	case fOffset:
		return r.Offset
	case fNext:
		return r.Next
	case fAttempt:
		return int64(r.Attempt)
	case fLogOffset:
		return r.LogOffset
	case fChunk:
		return int64(r.Chunk)
	case fChunks:
		return int64(r.Chunks)
	}
	return 0
}

// DecodeRecords is the strict inverse of EncodeRecords: anything it does not give, an unknown version or kind among them, is
// refused with ErrInvalid. It never allocates more than a small multiple of the input.
func DecodeRecords(body []byte) ([]Record, error) {
	d := &decoder{b: body}
	if magic, version := d.byte(), d.byte(); d.err == nil && (magic != codecMagic || version != codecVersion) {
		d.fail("unknown format %#x version %d", magic, version)
	}
	rs := d.records(false)
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes after the last record", len(d.b))
	}
	if d.err != nil {
		return nil, msha.Errorf("facts.decode", fmt.Sprintf("body of %d bytes", len(body)), "", "%w: %w", msha.ErrInvalid, d.err)
	}
	return rs, nil
}

// DecodeLog decodes the body at an offset of a log and notes in each record where it is.
func DecodeLog(body []byte, offset int64) ([]Record, error) {
	rs, err := DecodeRecords(body)
	for i := range rs {
		if rs[i].Kind != Snapshot {
			rs[i].LogOffset = offset
		}
	}
	return rs, err
}

type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("cut short")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 { // cut short, too long, or not the shortest form
		d.fail("bad integer")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int(limit int64) int64 {
	v := d.uint()
	if v > uint64(limit) {
		d.fail("integer %d out of range", v)
		return 0
	}
	return int64(v)
}

func (d *decoder) string() string {
	n := d.int(int64(len(d.b)))
	if int64(len(d.b)) < n {
		d.fail("cut short")
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) count(size int) int {
	n := int(d.int(math.MaxInt32))
	if n > MaxRecords || n*size > len(d.b) {
		d.fail("count %d out of range", n)
		return 0
	}
	return n
}

func (d *decoder) records(nested bool) []Record {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	rs := make([]Record, 0, min(n, 1024))
	for range n {
		rs = append(rs, Record{})
		d.record(&rs[len(rs)-1], nested)
		if d.err != nil {
			return nil
		}
	}
	return rs
}

func (d *decoder) record(r *Record, nested bool) {
	r.Kind = Kind(d.byte())
	f := field(d.uint())
	if d.err == nil && (r.Kind == 0 || r.Kind > lastKind || f >= fEnd) {
		d.fail("unknown kind %d or field bits %#x", r.Kind, uint64(f))
	}
	if nested && (r.Kind == Snapshot || f&fRecords != 0) {
		d.fail("a snapshot inside a snapshot")
	}
	for bit := field(1); bit < fEnd && d.err == nil; bit <<= 1 {
		if f&bit == 0 {
			continue
		}
		if s := r.text(bit); s != nil {
			*s = d.string()
			continue
		}
		switch bit {
		case fQueue:
			r.Queue = msha.OriginQueue{Unit: d.string(), Broker: d.string(), Topic: d.string(),
				Queue: int(d.int(math.MaxInt32)), Incarnation: d.int(math.MaxInt64)}
		case fLocal:
			r.Local = LocalQueue{Topic: d.string(), Broker: d.string(), ID: int(d.int(math.MaxInt32))}
		case fSpans:
			r.Spans = d.spans()
		case fRecords:
			r.Records = d.records(true)
		case fTerm:
			r.Term = d.uint()
		case fVersion:
			r.Version = d.uint()
		case fOffset:
			r.Offset = d.int(math.MaxInt64)
		case fNext:
			r.Next = d.int(math.MaxInt64)
		case fLogOffset:
			r.LogOffset = d.int(math.MaxInt64)
		case fAttempt:
			r.Attempt = int(d.int(math.MaxInt32))
		case fChunk:
			r.Chunk = int(d.int(math.MaxInt32))
		case fChunks:
			r.Chunks = int(d.int(math.MaxInt32))
		}
	}
	if d.err == nil && r.fields() != f {
		d.fail("a zero field is encoded")
	}
	if d.err == nil && f&fRecords != 0 && r.Kind != Snapshot {
		d.fail("%s with nested records", r.Kind)
	}
}

func (d *decoder) spans() Offsets {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	o := make(Offsets, 0, n)
	last := int64(0)
	for i := range n {
		gap := d.int(math.MaxInt64 - last)
		length := d.int(math.MaxInt64 - last - gap)
		if d.err == nil && (length == 0 || i > 0 && gap == 0) {
			d.fail("spans not in canonical form")
		}
		if d.err != nil {
			return nil
		}
		o = append(o, Span{last + gap, last + gap + length})
		last += gap + length
	}
	return o
}
