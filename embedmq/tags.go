package embedmq

import (
	"hash/crc32"
	"strings"
	"unicode/utf16"
)

func bodyCRC(b []byte) int32 { return int32(crc32.ChecksumIEEE(b) & 0x7fffffff) }

// javaHash is String.hashCode: over UTF-16 units, with the overflow of a 32 bit integer.
func javaHash(s string) int32 {
	var h int32
	for _, u := range utf16.Encode([]rune(s)) {
		h = 31*h + int32(u)
	}
	return h
}

func tagCode(tag string) int64 {
	if tag == "" {
		return 0
	}
	return int64(javaHash(tag))
}

// messageFilter decides which messages a pull gets.
type messageFilter interface{ match(*record) bool }

// tagFilter is what a broker keeps of a subscription: hash codes, not tags, so collisions pass.
type tagFilter struct {
	all   bool
	codes map[int64]bool
}

func parseTags(expr string) tagFilter {
	if expr == "" || expr == "*" {
		return tagFilter{all: true}
	}
	f := tagFilter{codes: map[int64]bool{}}
	for _, t := range strings.Split(expr, "||") {
		if t = strings.TrimSpace(t); t != "" {
			f.codes[int64(javaHash(t))] = true
		}
	}
	return f
}

func (f tagFilter) match(r *record) bool { return f.all || f.codes[r.tags] }
