package remoting

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/go-msha/msha"
)

// MaxFrame bounds a frame in both directions: RocketMQ's own limit.
const MaxFrame = 16 << 20

// Serialization is how a header is written.
type Serialization byte

// The two header serializations.
const (
	JSON     Serialization = 0
	RocketMQ Serialization = 1
)

func errFrame(format string, args ...any) error {
	return fmt.Errorf("remoting frame: %w: %s", msha.ErrInvalid, fmt.Sprintf(format, args...))
}

type jsonHeader struct {
	Code     int               `json:"code"`
	Language json.RawMessage   `json:"language,omitempty"`
	Version  int               `json:"version"`
	Opaque   int32             `json:"opaque"`
	Flag     int               `json:"flag"`
	Remark   string            `json:"remark,omitempty"`
	Ext      map[string]string `json:"extFields,omitempty"`
}

// languages are the codes of the binary header; unknown ones are kept as a number.
var languages = []string{"JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST", "NODE_JS"}

// AppendFrame appends the whole frame, its 4-byte length included. ErrTooLarge above MaxFrame.
func AppendFrame(dst []byte, c *Command, s Serialization) ([]byte, error) {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	var err error
	switch s {
	case JSON:
		dst, err = appendJSONHeader(dst, c)
	case RocketMQ:
		dst, err = appendBinaryHeader(dst, c)
	default:
		err = errFrame("unknown serialization %d", s)
	}
	if err != nil {
		return dst[:start], err
	}
	header := len(dst) - start - 8
	if c.appendBody != nil {
		dst = c.appendBody(dst)
	} else {
		dst = append(dst, c.Body...)
	}
	total := len(dst) - start - 4
	if total > MaxFrame || header > 0xffffff {
		return dst[:start], fmt.Errorf("remoting frame of %d bytes: %w: the limit is %d", total, msha.ErrTooLarge, MaxFrame)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(total))
	binary.BigEndian.PutUint32(dst[start+4:], uint32(header)|uint32(s)<<24)
	return dst, nil
}

func appendJSONHeader(dst []byte, c *Command) ([]byte, error) {
	lang, err := json.Marshal(c.Language)
	if err != nil {
		return dst, err
	}
	b, err := json.Marshal(jsonHeader{c.Code, lang, c.Version, c.Opaque, c.Flag, c.Remark, c.Ext})
	return append(dst, b...), err
}

func appendBinaryHeader(dst []byte, c *Command) ([]byte, error) {
	if c.Code < math.MinInt16 || c.Code > math.MaxInt16 {
		return dst, errFrame("code %d does not fit", c.Code)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(int16(c.Code)))
	if c.Version < 0 || c.Version > math.MaxUint16 || c.Flag < math.MinInt32 || c.Flag > math.MaxInt32 {
		return dst, errFrame("version %d or flag %d does not fit", c.Version, c.Flag)
	}
	dst = append(dst, languageCode(c.Language))
	dst = binary.BigEndian.AppendUint16(dst, uint16(c.Version))
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.Opaque))
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.Flag))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(c.Remark)))
	dst = append(dst, c.Remark...)
	lengthAt := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for k, v := range c.Ext {
		if len(k) > math.MaxInt16 {
			return dst, errFrame("header field name of %d bytes", len(k))
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(k)))
		dst = append(dst, k...)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v)))
		dst = append(dst, v...)
	}
	binary.BigEndian.PutUint32(dst[lengthAt:], uint32(len(dst)-lengthAt-4))
	return dst, nil
}

func languageCode(name string) byte {
	if i := slices.Index(languages, name); i >= 0 {
		return byte(i)
	}
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		return byte(n)
	}
	return byte(slices.Index(languages, "OTHER"))
}

// ReadFrame reads one frame without its length into buf, grown as needed. io.EOF only between frames.
func ReadFrame(r io.Reader, buf []byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n < 4 || n > MaxFrame {
		return nil, errFrame("length %d", n)
	}
	buf = buf[:0]
	for len(buf) < n {
		have := len(buf)
		buf = slices.Grow(buf, min(n-have, max(have, readStep)))
		buf = buf[:min(n, cap(buf))]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}

// readStep bounds what is allocated for bytes that have not arrived: a peer that only claims a large frame costs no more.
const readStep = 1 << 20

// DecodeFrame decodes a frame without its length. The body aliases frame.
func DecodeFrame(frame []byte) (*Command, Serialization, error) {
	if len(frame) < 4 {
		return nil, 0, errFrame("%d bytes", len(frame))
	}
	mark := binary.BigEndian.Uint32(frame)
	s, n := Serialization(mark>>24), int(mark&0xffffff)
	if n > len(frame)-4 {
		return nil, s, errFrame("header of %d bytes in %d", n, len(frame)-4)
	}
	header, body := frame[4:4+n], frame[4+n:]
	var c *Command
	var err error
	switch s {
	case JSON:
		c, err = decodeJSONHeader(header)
	case RocketMQ:
		c, err = decodeBinaryHeader(header)
	default:
		err = errFrame("unknown serialization %d", s)
	}
	if err != nil {
		return nil, s, err
	}
	if len(body) > 0 {
		c.Body = body
	}
	return c, s, nil
}

func decodeJSONHeader(b []byte) (*Command, error) {
	var h jsonHeader
	if err := json.Unmarshal(b, &h); err != nil {
		return nil, errFrame("header: %v", err)
	}
	c := &Command{Code: h.Code, Version: h.Version, Opaque: h.Opaque, Flag: h.Flag, Remark: h.Remark, Ext: h.Ext}
	if json.Unmarshal(h.Language, &c.Language) != nil { // a number from some clients
		c.Language = string(h.Language)
	}
	return c, nil
}

func decodeBinaryHeader(b []byte) (*Command, error) {
	r := reader{b: b}
	c := &Command{}
	c.Code = int(int16(r.uint16()))
	lang := r.uint8()
	c.Language = fmt.Sprint(lang)
	if int(lang) < len(languages) {
		c.Language = languages[lang]
	}
	c.Version = int(r.uint16())
	c.Opaque = int32(r.uint32())
	c.Flag = int(int32(r.uint32()))
	c.Remark = string(r.bytes(int(int32(r.uint32()))))
	ext := reader{b: r.bytes(int(int32(r.uint32()))), failed: r.failed}
	for len(ext.b) > 0 && !ext.failed {
		if c.Ext == nil {
			c.Ext = map[string]string{}
		}
		k := string(ext.bytes(int(int16(ext.uint16()))))
		c.Ext[k] = string(ext.bytes(int(int32(ext.uint32()))))
	}
	if r.failed || ext.failed || len(r.b) > 0 {
		return nil, errFrame("binary header of %d bytes", len(b))
	}
	return c, nil
}

// reader takes big-endian values off the front; after the first shortage it fails and gives zeros.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b) || r.failed {
		r.failed = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uint8() uint8 {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.bytes(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}
