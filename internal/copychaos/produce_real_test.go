//go:build real

package copychaos

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/remoting"
)

// producer sends messages of every kind to one unit's topics, over all queues in turn.
type producer struct {
	*world
	unit   *unit
	queues []remoting.Queue
	rnd    *rand.Rand
	serial int
	large  int // bodies of the largest size that are still to be sent

	acked, unsure int // messages that were stored for certain, and those of which nobody knows
	delayed       int // among them
	rolledBack    int
}

func (w *world) producer(u *unit, large int) *producer {
	w.Helper()
	return &producer{world: w, unit: u, queues: w.queues(u, topics...), rnd: rand.New(rand.NewPCG(1, uint64(len(w.units)))), large: large}
}

// largest is a body that brokers of all versions take, with room for the properties of a copy.
const largest = 4<<20 - 2048

// send stores messages until there are n.
func (p *producer) send(n int) {
	for p.acked < n && p.ctx.Err() == nil {
		for range 18 {
			p.batch(25)
		}
		for kind := range 3 {
			for range 3 {
				p.single(p.compressed(kind))
			}
		}
		for range 3 {
			m := p.message(p.noise(100))
			for i := range 200 {
				m.Properties[fmt.Sprintf("property %03d é", i)] = strings.Repeat("值", i%20)
			}
			p.single(m)
			p.single(p.message(p.noise(20_000 + p.rnd.IntN(100_000))))
			p.single(p.later())
			p.transaction(remoting.SysTransCommit)
			p.transaction(remoting.SysTransRollback)
		}
		if p.large > 0 {
			p.large--
			p.single(p.message(p.noise(largest)))
		}
	}
}

func (p *producer) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(p.rnd.Uint32())
	}
	return b
}

// message has a key and often a tag; the id is what clients give.
func (p *producer) message(body []byte) *remoting.Message {
	p.serial++
	m := &remoting.Message{Body: body, Flag: int32(p.serial), Properties: map[string]string{
		"UNIQ_KEY": fmt.Sprintf("%s-%d", p.unit.name, p.serial), "KEYS": fmt.Sprintf("k%d k", p.serial), "user": "ü",
	}}
	if p.serial%3 != 0 {
		m.Properties["TAGS"] = fmt.Sprint("t", p.serial%7)
	}
	return m
}

func (p *producer) compressed(kind int) *remoting.Message {
	var b bytes.Buffer
	var w io.WriteCloser = zlib.NewWriter(&b)
	switch kind {
	case 1:
		w = lz4.NewWriter(&b)
	case 2:
		z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		require.NoError(p, err)
		w = z
	}
	_, err := w.Write(bytes.Repeat(p.noise(500), 10))
	require.NoError(p, err)
	require.NoError(p, w.Close())
	m := p.message(b.Bytes())
	m.SysFlag = remoting.SysCompressed | int32([]int{3, 1, 2}[kind])<<8
	return m
}

func (p *producer) later() *remoting.Message {
	p.delayed++
	m := p.message([]byte("later"))
	m.Properties["DELAY"] = "1"
	return m
}

// awaitDelayed waits until nothing sent so far is still to come due: a broker delivers in the order of sending.
func (p *producer) awaitDelayed() {
	for _, q := range p.queues {
		m := p.later()
		_, err := p.unit.mq.Send(p.ctx, q, "mtr", m)
		require.NoError(p, err)
		p.acked++
		p.eventually("a delayed message comes due", func() bool {
			end, err := p.unit.mq.MaxOffset(p.ctx, q)
			require.NoError(p, err)
			res, err := p.unit.mq.Pull(p.ctx, remoting.PullRequest{Queue: q, Group: "readers", Offset: max(end-1, 0)})
			require.NoError(p, err)
			last := len(res.Messages) - 1
			return last >= 0 && res.Messages[last].Properties["UNIQ_KEY"] == m.Properties["UNIQ_KEY"]
		})
	}
}

// batch sends small messages, some of them empty or without an id.
func (p *producer) batch(n int) {
	var ms []*remoting.Message
	for range n {
		m := p.message(p.noise(p.rnd.IntN(600)))
		switch p.serial % 10 {
		case 0:
			m.Body = nil
		case 1:
			delete(m.Properties, "UNIQ_KEY")
		}
		ms = append(ms, m)
	}
	p.store(n, func(q remoting.Queue) error {
		_, err := p.unit.mq.SendBatch(p.ctx, q, "mtr", ms)
		return err
	})
}

func (p *producer) single(m *remoting.Message) {
	p.store(1, func(q remoting.Queue) error {
		_, err := p.unit.mq.Send(p.ctx, q, "mtr", m)
		return err
	})
}

// store repeats a send on other queues until one acknowledges.
func (p *producer) store(n int, send func(remoting.Queue) error) {
	for p.ctx.Err() == nil {
		err := send(p.queues[p.rnd.IntN(len(p.queues))])
		if err == nil {
			p.acked += n
			return
		}
		p.unsure += n
		p.log.Logger().Info("send failed", "unit", p.unit.name, "error", err)
		time.Sleep(20 * time.Millisecond) // a dead broker refuses at once
	}
}

// transaction sends a half message and ends it. If its end is not acknowledged nobody knows how it went.
func (p *producer) transaction(how int) {
	m := p.message([]byte("in a transaction"))
	m.SysFlag = remoting.SysTransPrepared
	m.Properties["TRAN_MSG"], m.Properties["PGROUP"] = "true", "mtr"
	q := p.queues[p.rnd.IntN(len(p.queues))]
	half, err := p.unit.mq.Send(p.ctx, q, "mtr", m)
	if err != nil { // it stays a half message, if anything
		return
	}
	host, at, err := remoting.ParseMessageID(half.OffsetMsgID)
	require.NoError(p, err)
	resp, err := p.unit.client.Call(p.ctx, host.String(), remoting.NewRequest(remoting.ReqEndTransaction, map[string]string{
		"topic": q.Topic, "producerGroup": "mtr", "tranStateTableOffset": fmt.Sprint(half.QueueOffset), "commitLogOffset": fmt.Sprint(at),
		"commitOrRollback": fmt.Sprint(how), "fromTransactionCheck": "false", "msgId": m.Properties["UNIQ_KEY"],
		"transactionId": m.Properties["UNIQ_KEY"], "bname": q.Broker,
	}, nil))
	switch {
	case err == nil && resp.Code == remoting.RespSuccess && how == remoting.SysTransCommit:
		p.acked++
	case err == nil && resp.Code == remoting.RespSuccess:
		p.rolledBack++
	case how == remoting.SysTransCommit:
		p.unsure++
	}
}
