package replicate

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// recordsOf are messages as an origin stores them.
func recordsOf(t testing.TB, ms ...*remoting.Message) []remoting.Record {
	t.Helper()
	var b []byte
	for _, m := range ms {
		b = remoting.AppendMessage(b, m)
	}
	records, err := remoting.DecodeRecords(b)
	require.NoError(t, err)
	require.Len(t, records, len(ms))
	return records
}

// requireWritten compares what a copier writes with the batch item of copyOf.
func requireWritten(t *testing.T, c *copier, r *remoting.Record) {
	t.Helper()
	m, err := r.Message()
	require.NoError(t, err)
	plain := copyOf(m, c.incarnation(m.QueueOffset), "SMS-from-unit-1")
	require.Equal(t, plain.SysFlag == 0, m.SysFlag&keptFlags == 0)
	if !c.fits(r) {
		return
	}
	require.True(t, fitsBatch(plain))
	head := []byte("head")
	written := c.write(head, r)
	require.Equal(t, "head", string(written[:4]))
	require.LessOrEqual(t, len(written)-len(head), c.size(r))
	got, err := remoting.DecodeBatch(written[4:])
	require.NoError(t, err)
	want, err := remoting.DecodeBatch(remoting.AppendBatchItem(nil, plain))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

var oddNames = []string{
	"UNIQ_KEY", "KEYS", "TAGS", "WAIT", "user", "a long name, and of ümlauts", "DELAY", "DELAYED", "TIMER_", "TIMER_OUT_MS", "TIMER", "TRAN_MSG", "MIN_OFFSET",
	"__CRC32#", "__CRC32", "REAL_TOPIC", msha.PropertyUnit, msha.PropertyOrigin, msha.PropertyRoute, msha.PropertyRetry, "MSHA_UNIT_", "",
}

func TestWrittenCopiesAreThoseOfThePlainEncoder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	raised := &msha.Incarnations{Queues: []msha.RaisedQueue{{Queue: auditFrom, Raised: []msha.Raised{{From: 500}, {From: 900}}}}}
	c := newCopier(func(offset int64) msha.OriginQueue { return raised.At(auditFrom, offset) })
	text := func() string {
		b := make([]byte, random.IntN(12))
		for i := range b {
			b[i] = byte(3 + random.IntN(253))
		}
		return string(b)
	}
	for range 3000 {
		m := &remoting.Message{
			Topic: "SMS", Flag: int32(random.Uint32()), QueueOffset: random.Int64N(1000), BornTimestamp: random.Int64(), Body: []byte(text()), Properties: map[string]string{},
			SysFlag: []int32{0, remoting.SysTransCommit, remoting.SysBornHostV6, remoting.SysCompressed, remoting.SysMultiTags}[random.IntN(5)],
		}
		for range random.IntN(8) {
			name := oddNames[random.IntN(len(oddNames))]
			if random.IntN(4) == 0 {
				name += text()
			}
			if name != "" {
				m.Properties[name] = text()
			}
		}
		requireWritten(t, c, &recordsOf(t, m)[0])
	}
}

func TestWhatDoesNotFitIsLeftToThePlainEncoder(t *testing.T) {
	c := newCopier(func(int64) msha.OriginQueue { return auditFrom })
	for _, m := range []*remoting.Message{
		{SysFlag: remoting.SysCompressed},
		{SysFlag: remoting.SysMultiTags},
		{Body: make([]byte, maxBatch)},
		{Properties: map[string]string{"large": strings.Repeat("x", remoting.MaxProperties-50)}},
	} {
		require.False(t, c.fits(&recordsOf(t, m)[0]))
	}
	m := &remoting.Message{Properties: map[string]string{"large": strings.Repeat("x", remoting.MaxProperties-150)}}
	r := &recordsOf(t, m)[0]
	require.True(t, c.fits(r))
	requireWritten(t, c, r)
}

func FuzzCopier(f *testing.F) {
	f.Add("UNIQ_KEY\x01k\x02MSHA_UNIT\x01\x02", []byte("body"), int64(7))
	f.Add("MSHA_UNIT\x01u\x02MSHA_UNIT\x01\x02a\x01b\x01c\x02\x02none\x02\x01v\x02DELAY\x013\x02MSHA_ORIGIN\x01x", []byte{}, int64(0))
	f.Fuzz(func(t *testing.T, properties string, body []byte, offset int64) {
		if len(properties) > remoting.MaxProperties || offset < 0 {
			return
		}
		r := recordsOf(t, &remoting.Message{QueueOffset: offset, Body: body})[0]
		r = withProperties(t, r, properties)
		requireWritten(t, newCopier(func(int64) msha.OriginQueue { return auditFrom }), &r)
	})
}

// withProperties is a record whose properties are encoded as no encoder of ours does it: they are the end of what is stored.
func withProperties(t testing.TB, r remoting.Record, properties string) remoting.Record {
	m, err := r.Message()
	require.NoError(t, err)
	m.Properties = nil
	b := remoting.AppendMessage(nil, m)
	b = append(b[:len(b)-2], byte(len(properties)>>8), byte(len(properties)))
	b = append(b, properties...)
	b[0], b[1], b[2], b[3] = byte(len(b)>>24), byte(len(b)>>16), byte(len(b)>>8), byte(len(b))
	records, err := remoting.DecodeRecords(b)
	require.NoError(t, err)
	return records[0]
}

func BenchmarkCopy(b *testing.B) {
	from := msha.OriginQueue{Unit: "unit-1", Broker: "broker-a", Topic: "SMS", Queue: 3}
	m := &remoting.Message{Topic: "SMS", Body: make([]byte, 500), QueueOffset: 123_456_789, Properties: map[string]string{
		"UNIQ_KEY": "7F0000010B7818B4AAC200000000000A", "TAGS": "sms", "WAIT": "true", "CLUSTER": "DefaultCluster", msha.PropertyRoute: "beijing", msha.PropertyUnit: "unit-1",
	}}
	stored := remoting.AppendMessage(nil, m)
	c := newCopier(func(int64) msha.OriginQueue { return from })
	dst := make([]byte, 0, 4096)
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ms, err := remoting.DecodeMessages(stored)
			require.NoError(b, err)
			dst = remoting.AppendBatchItem(dst[:0], copyOf(ms[0], from, "SMS-from-unit-1"))
		}
	})
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rs, err := remoting.DecodeRecords(stored)
			if err != nil {
				b.Fatal(err)
			}
			dst = c.write(dst[:0], &rs[0])
		}
	})
	require.NotEmpty(b, fmt.Sprint(len(dst)))
}
