package embedmq

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	msha "github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// Kinds of journal entries.
const (
	entryMessage = iota + 1 // body: the stored message
	entryTopic              // body: its configuration
	entryNoTopic
	entryGroup // body: its configuration
	entryNoGroup
	entryOffset // of a group in a queue
	entryMin    // offset: the queue's new minimum
	entryMax    // offset: the queue's new maximum, after a loss
	entryDone   // offset: in the commit log, of a delayed message that was delivered or a transaction that ended
)

// journal is the file of one broker: each change is appended as a checksum and a frame of the protocol. It is written without being
// flushed, so it survives the process and not the machine. A nil journal keeps nothing.
type journal struct {
	file *os.File
	err  error // of the first write that failed; nothing is written after it
	buf  []byte
}

// keep appends an entry; the cluster's lock is held.
func (j *journal) keep(kind int, body []byte, kv ...string) {
	if j == nil || j.err != nil {
		return
	}
	e := &remoting.Command{Code: kind, Body: body}
	for i := 0; i < len(kv); i += 2 {
		if e.Ext == nil {
			e.Ext = map[string]string{}
		}
		e.Ext[kv[i]] = kv[i+1]
	}
	frame, err := remoting.AppendFrame(append(j.buf[:0], 0, 0, 0, 0), e, remoting.RocketMQ)
	if err == nil {
		binary.BigEndian.PutUint32(frame, crc32.ChecksumIEEE(frame[4:]))
		_, err = j.file.Write(frame)
		j.buf = frame
	}
	j.err = err
}

func (j *journal) keepJSON(kind int, v any) {
	if j == nil {
		return
	}
	body, _ := json.Marshal(v)
	j.keep(kind, body)
}

func (j *journal) close() {
	if j != nil {
		j.file.Close() //nolint:errcheck // each write told
	}
}

// failure is why the broker can no longer keep what it stores.
func (j *journal) failure() error {
	if j == nil {
		return nil
	}
	return j.err
}

// open reads the broker's journal, if the cluster has a folder, and cuts off an entry that is not whole: what a process that died in
// the middle of a write leaves behind.
func (b *broker) open() error {
	dir := b.c.opts.Dir
	if dir == "" {
		return nil
	}
	name := filepath.Join(dir, url.PathEscape(b.name)+".journal")
	fail := func(err error) error { return msha.Errorf("embedmq.open", name, "", "%w", err) }
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fail(err)
	}
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fail(err)
	}
	good, torn, err := b.replayAll(file)
	if err == nil && torn != nil {
		var size int64
		if size, err = file.Seek(0, io.SeekEnd); err == nil {
			b.lost = size - good
			b.c.opts.Logger.Warn("the end of a journal is lost", "broker", b.name, "bytes", b.lost, "cause", torn)
			err = file.Truncate(good)
		}
	}
	if err == nil {
		_, err = file.Seek(good, io.SeekStart)
	}
	if err != nil {
		file.Close() //nolint:errcheck // never used
		return fail(err)
	}
	b.journal = &journal{file: file}
	return nil
}

// replayAll applies all whole entries and says where they end. torn is why reading stopped before the file's end.
func (b *broker) replayAll(file io.Reader) (good int64, torn, err error) {
	r := bufio.NewReaderSize(file, 1<<16)
	for {
		e, size, err := readEntry(r)
		if err == io.EOF {
			return good, nil, nil
		}
		if err != nil {
			return good, err, nil
		}
		if err := b.replay(e); err != nil { // whole, but not what was written by this code
			return good, nil, err
		}
		good += size
	}
}

// readEntry gives io.EOF only between entries.
func readEntry(r io.Reader) (*remoting.Command, int64, error) {
	var sum [4]byte
	if _, err := io.ReadFull(r, sum[:]); err != nil {
		return nil, 0, err
	}
	frame, err := remoting.ReadFrame(r, nil)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, 0, err
	}
	length := binary.BigEndian.AppendUint32(nil, uint32(len(frame)))
	if crc32.Update(crc32.ChecksumIEEE(length), crc32.IEEETable, frame) != binary.BigEndian.Uint32(sum[:]) {
		return nil, 0, errors.New("wrong checksum")
	}
	e, _, err := remoting.DecodeFrame(frame)
	return e, int64(8 + len(frame)), err
}

// LostBytes is how much of a broker's journal was dropped at Start because its last entry was not whole.
func (c *Cluster) LostBytes(broker string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.brokers[broker]; b != nil {
		return b.lost
	}
	return 0
}

func queueFields(topic string, queue int, offset int64) []string {
	return []string{"topic", topic, "queueId", strconv.Itoa(queue), "offset", itoa(offset)}
}
