package child

import (
	"bytes"
	"io"
	"os"
)

// Tail returns at most the last limit bytes of a file; nothing if it cannot be read.
func Tail(path string, limit int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // read only
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	from := max(size-limit, 0)
	buf := make([]byte, size-from)
	n, _ := f.ReadAt(buf, from)
	return buf[:n]
}

// LastLines returns the last n lines.
func LastLines(b []byte, n int) []byte {
	b = bytes.TrimRight(b, "\n")
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] == '\n' {
			if n--; n == 0 {
				return b[i+1:]
			}
		}
	}
	return b
}
