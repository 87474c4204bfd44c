package remoting

import (
	"sort"
	"strings"
)

const (
	nameEnd  = "\x01"
	valueEnd = "\x02"
)

// EncodeProperties gives the wire form of a message's properties, sorted by name. Names and values must not contain the two separator
// characters \x01 and \x02; the producer side refuses them.
func EncodeProperties(props map[string]string) string {
	names := make([]string, 0, len(props))
	size := 0
	for k, v := range props {
		names = append(names, k)
		size += len(k) + len(v) + 2
	}
	sort.Strings(names)
	var b strings.Builder
	b.Grow(size)
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
	props := make(map[string]string, strings.Count(s, valueEnd)+1)
	for len(s) > 0 {
		var item string
		item, s, _ = strings.Cut(s, valueEnd)
		if k, v, ok := strings.Cut(item, nameEnd); ok && k != "" {
			props[k] = v
		}
	}
	return props
}
