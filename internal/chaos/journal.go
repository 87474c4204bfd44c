package chaos

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Journal is the file of one process. Each line is with the system before Write returns, so it outlives the process, however that ends. Its
// methods are safe for concurrent use.
type Journal struct {
	process string
	began   time.Time

	mu   sync.Mutex
	file *os.File
	seq  int
}

const suffix = ".journal"

// Create begins the journal of a process in a folder; an error if it is there already.
func Create(dir, process string) (*Journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, process+suffix), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return &Journal{process: process, began: time.Now(), file: f}, nil
}

// Write appends one line by one system call.
func (j *Journal) Write(e Event, run int, key, value string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	l := Line{Process: j.process, PID: os.Getpid(), Began: j.began, Seq: j.seq, At: time.Now(), Event: e, Run: run, Key: key, Value: value}
	_, err := j.file.Write(l.encode())
	return err
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }

// Reader reads the journals of a folder while they are written.
type Reader struct {
	dir string
	at  map[string]int64 // by file: how far it was read
}

// NewReader reads from the beginning.
func NewReader(dir string) *Reader { return &Reader{dir: dir, at: map[string]int64{}} }

// Read returns the lines that were completed since the last call, in the order of each journal. A line that is not complete is read later;
// if its process was killed in the middle of it, never.
func (r *Reader) Read() ([]Line, error) {
	files, err := filepath.Glob(filepath.Join(r.dir, "*"+suffix))
	if err != nil {
		return nil, err
	}
	var all []Line
	for _, name := range files {
		text, err := r.rest(name)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			if line[len(line)-1] != '\n' {
				break
			}
			l, err := parseLine(string(line[:len(line)-1]))
			if err != nil {
				return nil, fmt.Errorf("%s at %d: %w", name, r.at[name], err)
			}
			r.at[name] += int64(len(line))
			all = append(all, l)
		}
	}
	return all, nil
}

// rest is what a file holds beyond what was read.
func (r *Reader) rest(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return io.ReadAll(io.NewSectionReader(f, r.at[name], 1<<62))
}
