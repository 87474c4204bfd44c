package nacos

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxName is the longest name of a document or service that every Nacos accepts.
const maxName = 256

// encodeName turns a key, or the name of a member set, into one that Nacos accepts: letters, digits, "." and "-" stay, each other byte
// becomes "_" and two hexadecimal digits. Two keys never become one name; of a key that gets too long the end is replaced by its SHA-256.
func encodeName(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-'
		// The server makes a file of each document ("..") and encrypts those called "cipher-…".
		if i == 0 && (c == '.' || strings.HasPrefix(key, "cipher-")) {
			plain = false
		}
		if plain {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02X", c)
		}
	}
	name := b.String()
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(key))
	tail := "_h" + hex.EncodeToString(sum[:]) // no plain name has "_h"
	return name[:maxName-len(tail)] + tail
}
