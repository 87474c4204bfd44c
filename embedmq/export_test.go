package embedmq

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/go-msha/msha/internal/remoting"
)

func Itoa(n int64) string { return itoa(n) }

// Fill makes a broker keep entries of every kind.
func Fill(c *Cluster, broker string) {
	c.locked(func() {
		b := c.brokers[broker]
		b.setTopic(&topicConfig{Name: "topic", Read: 1, Write: 1, Perm: permRead | permWrite})
		b.findGroup("g")
		for _, topic := range []string{"topic", halfTopic, scheduleTopic} {
			b.append(&remoting.Message{Topic: topic, Body: []byte("x")})
		}
		b.commit(offsetKey{"g", "topic", 0}, 1)
		for kind := entryMin; kind <= entryDone; kind++ {
			b.journal.keep(kind, nil, queueFields("topic", 0, 1)...)
		}
		b.journal.keep(entryNoTopic, nil, "topic", "none")
		b.journal.keep(entryNoGroup, nil, "group", "none", "cleanOffset", "true")
	})
}

// Replay reads a broker's journal as Start does, and says how much of it is whole.
func Replay(o *Options, broker string, b []byte) (good int64, torn, err error) {
	return newBroker(&Cluster{opts: o.withDefaults()}, broker).replayAll(bytes.NewReader(b))
}

// Mend makes the checksums of a journal right, so that its entries are looked at.
func Mend(b []byte) []byte {
	b = append([]byte(nil), b...)
	for rest := b; len(rest) >= 8; {
		n := 8 + int(binary.BigEndian.Uint32(rest[4:]))
		if n > len(rest) {
			break
		}
		binary.BigEndian.PutUint32(rest, crc32.ChecksumIEEE(rest[4:n]))
		rest = rest[n:]
	}
	return b
}

// BreakJournal lets every further write of a broker fail.
func (c *Cluster) BreakJournal(broker string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.brokers[broker].journal.file.Close() //nolint:errcheck // that is the point
}

// Unserved lists the codes of the registered requests that no client has sent so far.
func (c *Cluster) Unserved() (codes []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for code := range brokerHandlers {
		if c.served[code] == 0 {
			codes = append(codes, code)
		}
	}
	for code := range nameServerHandlers {
		if c.served[code] == 0 {
			codes = append(codes, code)
		}
	}
	return codes
}
