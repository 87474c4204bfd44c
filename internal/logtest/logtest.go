// Package logtest keeps what is logged, so that tests can count lines.
package logtest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// Log is a writer that remembers. The zero value is ready; methods are safe for concurrent use.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// Logger writes lines of level info and above to the log.
func (l *Log) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// String is everything logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Count is how often the text was logged.
func (l *Log) Count(text string) int { return strings.Count(l.String(), text) }

// Contains tells whether the text was logged.
func (l *Log) Contains(text string) bool { return strings.Contains(l.String(), text) }
