package nacos

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf8"

	"github.com/go-msha/msha"
)

// header is the first line of a document in Nacos. What follows is the value, readable in Nacos's console where it is text.
type header struct {
	Format   int    `json:"msha"` // 1
	Revision uint64 `json:"revision"`
	Deleted  bool   `json:"deleted,omitempty"`  // there is no document, but its revisions go on
	Encoding string `json:"encoding,omitempty"` // "base64": the value is binary, or has characters that databases damage
	Sum      string `json:"crc32,omitempty"`    // of the value: an edit by hand, or a damaged character, does not pass for the document
}

const format = 1

// seed is what a document is created with: none, before its first revision. All creators write the same, so it does not matter who was
// first; the first value follows by compare-and-set, which is exact where the insertion of a row is not (see the package comment).
var seed = state{raw: `{"msha":1,"revision":0,"deleted":true}`, md5: md5Hex(`{"msha":1,"revision":0,"deleted":true}`), known: true}

// state is one version of a document on the server.
type state struct {
	known    bool
	revision uint64
	live     bool // a document, neither deleted nor missing
	value    []byte
	raw      string // the content in Nacos; "": it is missing there
	md5      string // of raw
}

// missing is the state of a document that Nacos has nothing of.
var missing = state{known: true}

func (s state) document(key string) msha.Document {
	if !s.live {
		return msha.Document{Key: key}
	}
	return msha.Document{Key: key, Value: bytes.Clone(s.value), Revision: msha.Revision(s.revision)}
}

func md5Hex(content string) string {
	sum := md5.Sum([]byte(content))
	return hex.EncodeToString(sum[:])
}

func sumOf(value []byte) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE(value)) }

// encode makes the content of a version; live false deletes.
func encode(revision uint64, value []byte, live bool) state {
	h := header{Format: format, Revision: revision, Deleted: !live}
	s := state{known: true, revision: revision, live: live}
	body := ""
	if live {
		h.Sum = sumOf(value)
		s.value = bytes.Clone(value)
		if isPlain(value) {
			body = "\n" + string(value)
		} else {
			h.Encoding = "base64"
			body = "\n" + base64.StdEncoding.EncodeToString(value)
		}
	}
	line, err := json.Marshal(h)
	if err != nil {
		panic(err) // numbers and ASCII
	}
	s.raw = string(line) + body
	s.md5 = md5Hex(s.raw)
	return s
}

// isPlain says whether databases and the console keep a value byte by byte: MySQL's old utf8 has no characters beyond the basic plane.
func isPlain(value []byte) bool {
	if !utf8.Valid(value) {
		return false
	}
	for _, r := range string(value) {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r > 0xffff || r >= 0xfff0 || r == 0xfeff {
			return false
		}
	}
	return true
}

// decode parses a content. An error wraps msha.ErrInvalid.
func decode(raw string) (state, error) {
	line, body, hasBody := strings.Cut(raw, "\n")
	var h header
	if err := json.Unmarshal([]byte(line), &h); err != nil {
		return state{}, fmt.Errorf("%w: the first line is no header: %v", msha.ErrInvalid, err)
	}
	if h.Format != format {
		return state{}, fmt.Errorf("%w: format %d, not %d", msha.ErrInvalid, h.Format, format)
	}
	s := state{known: true, revision: h.Revision, live: !h.Deleted, raw: raw, md5: md5Hex(raw)}
	if h.Deleted != !hasBody || s.live && h.Revision == 0 {
		return state{}, fmt.Errorf("%w: header %s does not fit what follows it", msha.ErrInvalid, line)
	}
	if !s.live {
		return s, nil
	}
	switch h.Encoding {
	case "":
		s.value = []byte(body)
	case "base64":
		value, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return state{}, fmt.Errorf("%w: %v", msha.ErrInvalid, err)
		}
		s.value = value
	default:
		return state{}, fmt.Errorf("%w: encoding %q", msha.ErrInvalid, h.Encoding)
	}
	if h.Sum != sumOf(s.value) {
		return state{}, fmt.Errorf("%w: the value was edited by hand or damaged: its sum is %s, the header says %s", msha.ErrInvalid, sumOf(s.value), h.Sum)
	}
	return s, nil
}
