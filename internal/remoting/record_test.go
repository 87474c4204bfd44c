package remoting

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireRecords checks that records are accepted as messages are, and say the same.
func requireRecords(t *testing.T, b []byte) {
	t.Helper()
	ms, err := DecodeMessages(b)
	records, recordsErr := DecodeRecords(b)
	require.Equal(t, err, recordsErr)
	if err != nil {
		return
	}
	require.Len(t, records, len(ms))
	size := 0
	for i, r := range records {
		m, err := r.Message()
		require.NoError(t, err)
		require.Equal(t, ms[i], m)
		require.Equal(t, m.QueueOffset, r.QueueOffset)
		require.Equal(t, m.BornTimestamp, r.BornTimestamp)
		require.Equal(t, []int32{m.Flag, m.SysFlag}, []int32{r.Flag, r.SysFlag})
		require.Equal(t, m.Body, r.Body)
		require.Equal(t, m.Properties, cutAll(r.Properties))
		size += r.Size()
	}
	require.Equal(t, len(b), size)
}

func cutAll(b []byte) map[string]string {
	props := map[string]string{}
	for name, value, rest, ok := CutProperty(b); ok; name, value, rest, ok = CutProperty(rest) {
		props[string(name)] = string(value)
	}
	return props
}

func TestRecordsAreMessagesNotDecoded(t *testing.T) {
	var b []byte
	for _, flag := range []int32{0, SysBornHostV6, SysStoreHostV6, SysBornHostV6 | SysStoreHostV6 | SysCompressed} {
		for _, topic := range []string{"SMS", strings.Repeat("t", 200)} {
			b = AppendMessage(b, &Message{Topic: topic, SysFlag: flag, Flag: -3, QueueOffset: 7, BornTimestamp: 9, Body: []byte("b"), Properties: map[string]string{"k": "v", "empty": ""}})
		}
	}
	requireRecords(t, b)
	for n := range b {
		requireRecords(t, b[:n])
	}
}

func FuzzDecodeRecords(f *testing.F) {
	b := AppendMessage(nil, &Message{Topic: "SMS", Body: []byte("b"), Properties: map[string]string{"k": "v", "l": ""}})
	f.Add(AppendMessage(b, &Message{Topic: strings.Repeat("t", 200), SysFlag: SysBornHostV6}))
	f.Add([]byte{0, 0, 0, 8, 0xda, 0xa3, 0x20, 0xa7})
	f.Fuzz(requireRecords)
}

func FuzzCutProperty(f *testing.F) {
	f.Add([]byte("k\x01v\x02l\x01w"))
	f.Add([]byte("\x01\x02a\x02\x02b\x01c\x01d\x02"))
	f.Fuzz(func(t *testing.T, b []byte) { require.Equal(t, DecodeProperties(string(b)), cutAll(b)) })
}

func TestABatchRecordIsABatchItem(t *testing.T) {
	for _, m := range []*Message{{}, {Flag: 9, Body: []byte("body"), Properties: map[string]string{"k": "v"}}} {
		got := AppendBatchRecord([]byte("head"), m.Flag, m.Body, func(dst []byte) []byte {
			for k, v := range m.Properties {
				dst = AppendProperty(dst, k, v)
			}
			return dst
		})
		require.Equal(t, AppendBatchItem([]byte("head"), m), got)
	}
}
