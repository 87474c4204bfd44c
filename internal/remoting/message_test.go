package remoting

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

const (
	storedHead = "00000000 00000005 00000009" + // body CRC, queue 5, flag 9
		"0000000000000007 0000000000000100" // queue offset, commit log offset
	storedV4 = "00000000 0000018000000001 7f000001 00001f90 0000018000000002 0a000002 00002a9f" + // sysFlag, born, store
		"00000001 0000000000000000" // reconsume times, prepared offset
	storedV6 = "00000030 0000018000000001 20010db8000000000000000000000001 00001f90" +
		"0000018000000002 fe800000000000000000000000000002 00002a9f 00000001 0000000000000000"
	storedBody  = "00000002 6869"
	storedProps = "0004 6b017602"
)

func sized(t *testing.T, parts ...string) []byte {
	b := bin(t, append([]string{"00000000"}, parts...)...)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

func TestStoredMessageBytes(t *testing.T) {
	v1, v2 := sized(t, "daa320a7", storedHead, storedV4, storedBody, "03 534d53", storedProps), sized(t, "daa320ab", storedHead, storedV6, storedBody, "0003 534d53", storedProps)
	ms, err := DecodeMessages(append(append([]byte{}, v1...), v2...))
	require.NoError(t, err)
	want := &Message{
		Topic: "SMS", QueueID: 5, Flag: 9, Body: []byte("hi"), Properties: map[string]string{"k": "v"}, QueueOffset: 7, CommitLogOffset: 256,
		BornTimestamp: 0x18000000001, StoreTimestamp: 0x18000000002, ReconsumeTimes: 1,
		BornHost: netip.MustParseAddrPort("127.0.0.1:8080"), StoreHost: netip.MustParseAddrPort("10.0.0.2:10911"),
	}
	require.Len(t, ms, 2)
	require.Equal(t, want, ms[0])
	six := *want
	six.SysFlag = SysBornHostV6 | SysStoreHostV6
	six.BornHost, six.StoreHost = netip.MustParseAddrPort("[2001:db8::1]:8080"), netip.MustParseAddrPort("[fe80::2]:10911")
	require.Equal(t, &six, ms[1])

	crc := crc32.ChecksumIEEE([]byte("hi")) & 0x7fffffff // RocketMQ drops the sign bit
	binary.BigEndian.PutUint32(v1[8:], crc)
	require.Equal(t, v1, AppendMessage(nil, want))
}

func TestTheVersionFollowsTheTopicsLength(t *testing.T) {
	for _, c := range []struct {
		length int
		magic  int32
	}{{0, magicV1}, {1, magicV1}, {127, magicV1}, {128, magicV2}, {255, magicV2}, {300, magicV2}} {
		m := &Message{Topic: strings.Repeat("t", c.length), Body: []byte{}, Properties: map[string]string{}}
		b := AppendMessage([]byte("before"), m)[6:]
		require.Equal(t, c.magic, int32(binary.BigEndian.Uint32(b[4:])), c.length)
		ms, err := DecodeMessages(b)
		require.NoError(t, err)
		require.Equal(t, m.Topic, ms[0].Topic)
	}
}

func TestMixedHostKinds(t *testing.T) {
	m := &Message{
		Topic: "T", Body: []byte("b"), Properties: map[string]string{}, SysFlag: SysStoreHostV6,
		BornHost: netip.MustParseAddrPort("1.2.3.4:5"), StoreHost: netip.MustParseAddrPort("[::1]:6"),
	}
	ms, err := DecodeMessages(AppendMessage(nil, m))
	require.NoError(t, err)
	require.Equal(t, m.BornHost, ms[0].BornHost)
	require.Equal(t, m.StoreHost, ms[0].StoreHost)
}

func TestBrokenMessagesAreErrors(t *testing.T) {
	good := AppendMessage(nil, &Message{Topic: "SMS", Body: []byte("hello"), Properties: map[string]string{"k": "v"}})
	_, err := DecodeMessages(good)
	require.NoError(t, err)
	for n := 1; n < len(good); n++ {
		_, err := DecodeMessages(good[:n])
		require.ErrorIs(t, err, msha.ErrInvalid, "the first %d bytes", n)
		cut := bytes.Clone(good[:n])
		if n >= 4 {
			binary.BigEndian.PutUint32(cut, uint32(n)) // the size agrees, the fields do not
			_, err = DecodeMessages(cut)
			require.ErrorIs(t, err, msha.ErrInvalid, "%d bytes", n)
		}
	}
	bodyAt := 4 + 4 + 4 + 4 + 4 + 8 + 8 + 4 + 8 + 8 + 8 + 8 + 4 + 8
	for name, edit := range map[string]func([]byte){
		"size zero":       func(b []byte) { binary.BigEndian.PutUint32(b, 0) },
		"size negative":   func(b []byte) { binary.BigEndian.PutUint32(b, 0xffffffff) },
		"size huge":       func(b []byte) { binary.BigEndian.PutUint32(b, 0x7fffffff) },
		"magic":           func(b []byte) { b[4] = 0 },
		"queue negative":  func(b []byte) { b[12] = 0xff },
		"body negative":   func(b []byte) { binary.BigEndian.PutUint32(b[bodyAt:], 0xffffffff) },
		"body huge":       func(b []byte) { binary.BigEndian.PutUint32(b[bodyAt:], 0x7fffffff) },
		"topic too long":  func(b []byte) { b[bodyAt+4+5] = 200 },
		"topic too short": func(b []byte) { b[bodyAt+4+5] = 2 },
	} {
		b := bytes.Clone(good)
		edit(b)
		_, err := DecodeMessages(b)
		require.ErrorIs(t, err, msha.ErrInvalid, name)
	}
}

func TestBatchItemBytes(t *testing.T) {
	ms := []*Message{
		{Flag: 3, Body: []byte("hi"), Properties: map[string]string{"k": "v"}},
		{Body: []byte{}, Properties: map[string]string{}},
	}
	var b []byte
	for _, m := range ms {
		b = AppendBatchItem(b, m)
	}
	want := append(sized(t, "00000000 00000000 00000003", storedBody, storedProps), sized(t, "00000000 00000000 00000000 00000000 0000")...)
	require.Equal(t, want, b)
	got, err := DecodeBatch(b)
	require.NoError(t, err)
	require.Equal(t, ms, got)
	for n := 1; n < len(b); n++ {
		if n == len(b)-22 { // exactly the first item
			continue
		}
		_, err := DecodeBatch(b[:n])
		require.ErrorIs(t, err, msha.ErrInvalid, "%d bytes", n)
	}
	for _, size := range []uint32{0, 3, 0x7fffffff, 0xffffffff} {
		bad := bytes.Clone(b)
		binary.BigEndian.PutUint32(bad, size)
		_, err := DecodeBatch(bad)
		require.ErrorIs(t, err, msha.ErrInvalid, "size %d", size)
	}
}

func TestPropertyText(t *testing.T) {
	require.Equal(t, "", EncodeProperties(nil))
	require.Equal(t, "a\x01\x02b\x01x\x02", EncodeProperties(map[string]string{"b": "x", "a": ""}))
	for text, want := range map[string]map[string]string{
		"":                         {},
		"a\x011\x02":               {"a": "1"},
		"a\x011":                   {"a": "1"}, // the last end may be missing
		"a\x011\x02junk\x02b\x012": {"a": "1", "b": "2"},
		"\x01v\x02":                {},
		"a\x011\x02a\x012\x02":     {"a": "2"},
		"a\x01x\x01y\x02":          {"a": "x\x01y"},
		"\x02\x02\x02":             {},
		"ключ\x01значение\x02é\x01ß": {"ключ": "значение", "é": "ß"},
	} {
		require.Equal(t, want, DecodeProperties(text), "%q", text)
	}
	text := strings.Repeat("\x02", 8<<20)
	before := allocated()
	require.Empty(t, DecodeProperties(text))
	require.Less(t, allocated()-before, uint64(1<<20), "separators alone cost nothing")
}

func TestMessageIDs(t *testing.T) {
	for id, want := range map[string]struct {
		host   string
		offset int64
	}{
		"7F00000100002A9F0000000000000100":                         {"127.0.0.1:10911", 256},
		"20010DB800000000000000000000000100002A9F7FFFFFFFFFFFFFFF": {"[2001:db8::1]:10911", 1<<63 - 1},
	} {
		host, offset, err := ParseMessageID(id)
		require.NoError(t, err)
		require.Equal(t, want.host, host.String())
		require.Equal(t, want.offset, offset)
		require.Equal(t, id, MessageID(host, offset))
		_, _, err = ParseMessageID(strings.ToLower(id))
		require.NoError(t, err)
	}
	for _, bad := range []string{
		"", "7F", "7F00000100002A9F00000000000001", "7F00000100002A9F000000000000010000", "ZF00000100002A9F0000000000000100",
		"7F00000100012A9F0000000000000100", "7F000001FFFFFFFF0000000000000100", strings.Repeat("0", 1<<16),
	} {
		_, _, err := ParseMessageID(bad)
		require.ErrorIs(t, err, msha.ErrInvalid, "%.40q", bad)
		require.Less(t, len(err.Error()), 200)
	}
}

func TestTagHashIsJavas(t *testing.T) {
	for tag, want := range map[string]int32{"": 0, "a": 97, "TagA": 2598919, "polygenelubricants": -1 << 31, "标签": 857175, "😀": 1772899} {
		require.Equal(t, want, TagHash(tag), tag)
	}
}
