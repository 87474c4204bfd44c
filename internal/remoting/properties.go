package remoting

import (
	"math"
	"sort"
	"strings"
)

const (
	nameEnd  = "\x01"
	valueEnd = "\x02"
)

// MaxProperties is the most bytes of encoded properties that a message can carry.
const MaxProperties = math.MaxInt16

func propertiesSize(props map[string]string) int {
	size := 0
	for k, v := range props {
		size += len(k) + len(v) + len(nameEnd) + len(valueEnd)
	}
	return size
}

// EncodeProperties gives the wire form of a message's properties, sorted by name. Names and values must not contain the two separator
// characters \x01 and \x02; the producer side refuses them.
func EncodeProperties(props map[string]string) string {
	names := make([]string, 0, len(props))
	for k := range props {
		names = append(names, k)
	}
	sort.Strings(names)
	var b strings.Builder
	b.Grow(propertiesSize(props))
	for _, k := range names {
		b.WriteString(k)
		b.WriteString(nameEnd)
		b.WriteString(props[k])
		b.WriteString(valueEnd)
	}
	return b.String()
}

// DecodeProperties is the inverse of EncodeProperties; entries without a name separator are dropped, as the Java client does.
func DecodeProperties(s string) map[string]string {
	props := make(map[string]string, min(strings.Count(s, valueEnd)+1, 64)) // a hint that a peer cannot make large
	for len(s) > 0 {
		var item string
		item, s, _ = strings.Cut(s, valueEnd)
		if k, v, ok := strings.Cut(item, nameEnd); ok && k != "" {
			props[k] = v
		}
	}
	return props
}
