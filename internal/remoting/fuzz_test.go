package remoting

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzDecodeFrame(f *testing.F) {
	for _, s := range []Serialization{JSON, RocketMQ} {
		b, err := AppendFrame(nil, &Command{Code: 310, Language: "GO", Version: 401, Opaque: 5, Flag: 1, Remark: "r", Ext: map[string]string{"a": "b", "c": ""}, Body: []byte("x")}, s)
		require.NoError(f, err)
		f.Add(b)
		f.Add(b[:len(b)-3])
	}
	f.Add([]byte("\x00\x00\x00\x04\x01\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := ReadFrame(bytes.NewReader(b), nil)
		if err != nil {
			return
		}
		c, s, err := DecodeFrame(frame)
		if err != nil {
			return
		}
		again, err := AppendFrame(nil, c, s)
		if err != nil {
			return // fields that JSON can say and a frame of ours cannot
		}
		back, s2, err := DecodeFrame(again[4:])
		require.NoError(t, err)
		require.Equal(t, s, s2)
		require.Equal(t, c.Body, back.Body)
		require.Equal(t, c.Opaque, back.Opaque)
		if s == RocketMQ {
			require.Equal(t, c, back)
		}
	})
}

func FuzzDecodeMessages(f *testing.F) {
	for _, flag := range []int32{0, SysBornHostV6, SysBornHostV6 | SysStoreHostV6 | SysCompressed} {
		m := &Message{Topic: "SMS", SysFlag: flag, Body: []byte("b"), Properties: map[string]string{"k": "v"}, BornHost: netip.MustParseAddrPort("[::1]:1")}
		b := AppendMessage(nil, m)
		m.Topic = string(make([]byte, 200))
		f.Add(AppendMessage(b, m))
	}
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0xda, 0xa3, 0x20, 0xa7})
	f.Fuzz(func(t *testing.T, b []byte) {
		ms, err := DecodeMessages(b)
		if err != nil {
			return
		}
		var again []byte
		for _, m := range ms {
			again = AppendMessage(again, m)
		}
		back, err := DecodeMessages(again)
		require.NoError(t, err)
		require.Len(t, back, len(ms))
		for i := range ms {
			ms[i].BodyCRC = back[i].BodyCRC // computed anew
			require.Equal(t, ms[i], back[i])
			_, _ = ms[i].PlainBody()
		}
	})
}

func FuzzDecodeBatch(f *testing.F) {
	b := AppendBatchItem(nil, &Message{Flag: 1, Body: []byte("b"), Properties: map[string]string{"k": "v"}})
	f.Add(AppendBatchItem(b, &Message{}))
	f.Add([]byte{0, 0, 0, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		ms, err := DecodeBatch(b)
		if err != nil {
			return
		}
		var again []byte
		for _, m := range ms {
			again = AppendBatchItem(again, m)
		}
		back, err := DecodeBatch(again)
		require.NoError(t, err)
		require.Equal(t, ms, back)
	})
}

func FuzzProperties(f *testing.F) {
	f.Add("k\x01v\x02l\x01w")
	f.Add("\x01\x02\x01")
	f.Fuzz(func(t *testing.T, s string) {
		props := DecodeProperties(s)
		require.Equal(t, props, DecodeProperties(EncodeProperties(props)))
		require.Len(t, EncodeProperties(props), propertiesSize(props))
	})
}

func FuzzParseMessageID(f *testing.F) {
	f.Add("7F00000100002A9F0000000000000100")
	f.Add("20010DB800000000000000000000000100002A9F7FFFFFFFFFFFFFFF")
	f.Fuzz(func(t *testing.T, id string) {
		host, offset, err := ParseMessageID(id)
		if err != nil {
			return
		}
		host2, offset2, err := ParseMessageID(MessageID(host, offset))
		require.NoError(t, err)
		require.Equal(t, host, host2)
		require.Equal(t, offset, offset2)
	})
}

func FuzzDecodeRoute(f *testing.F) {
	f.Add([]byte(routeOfABroker))
	f.Add([]byte(`{"brokerDatas":[{"brokerAddrs":{"0":"a:1"},"brokerName":"b"}],"queueDatas":[{"brokerName":"b","readQueueNums":-1}]}`))
	f.Add([]byte(`{{"a":1}:2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRoute(b); err == nil {
			for _, q := range r.Queues {
				require.GreaterOrEqual(t, q.Read, 0)
				require.LessOrEqual(t, q.Write, 1<<16)
			}
		}
		if json.Valid(b) {
			require.Equal(t, b, quoteKeys(b), "standard JSON is left alone")
		}
	})
}

func FuzzPlainBody(f *testing.F) {
	for _, c := range compressions {
		f.Add(c.flag, c.pack(f, []byte("plain plain plain")))
	}
	f.Fuzz(func(t *testing.T, flag int32, b []byte) {
		plain, err := (&Message{SysFlag: flag, Body: b}).PlainBody()
		if err == nil && flag&SysCompressed != 0 {
			require.LessOrEqual(t, len(plain), maxPlain)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(binary.BigEndian.AppendUint32(nil, MaxFrame), 3)
	f.Fuzz(func(t *testing.T, b []byte, buf int) {
		frame, err := ReadFrame(bytes.NewReader(b), make([]byte, 0, min(max(buf, 0), 1<<20)))
		if err == nil {
			require.Equal(t, b[4:4+len(frame)], frame)
		}
	})
}
