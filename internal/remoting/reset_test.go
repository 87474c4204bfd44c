package remoting

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestDecodeOffsetTable(t *testing.T) {
	want := map[Queue]int64{{"SMS", "broker-a", 0}: 5, {"SMS", "broker-a", 1}: 1 << 40}
	for name, body := range map[string]string{
		"fastjson": `{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"SMS"}:5,{"brokerName":"broker-a","queueId":1,"topic":"SMS"}:1099511627776}}`,
		"spaces":   ` { "offsetTable" : { {"topic":"SMS","queueId":0,"brokerName":"broker-a"}:5 , {"brokerName":"broker-a","queueId":1,"topic":"SMS"}:1099511627776 } } `,
		"strings":  `{"offsetTable":{"{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"SMS\"}":5,"{\"brokerName\":\"broker-a\",\"queueId\":1,\"topic\":\"SMS\"}":1099511627776}}`,
		"list":     `{"offsetTable":[{"brokerName":"broker-a","offset":5,"queueId":0,"topic":"SMS"},{"brokerName":"broker-a","offset":1099511627776,"queueId":1,"topic":"SMS"}]}`,
		"ours":     string(EncodeOffsetTable(want)),
	} {
		got, err := DecodeOffsetTable([]byte(body))
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	strange := map[Queue]int64{{`a"}:{`, `b\`, 3}: 1}
	got, err := DecodeOffsetTable(EncodeOffsetTable(strange))
	require.NoError(t, err)
	require.Equal(t, strange, got)
	for _, body := range []string{`{}`, `{"offsetTable":{}}`, `{"offsetTable":null}`, `{"offsetTable":[]}`} {
		got, err := DecodeOffsetTable([]byte(body))
		require.NoError(t, err, body)
		require.Empty(t, got, body)
	}
	for _, body := range []string{``, `{`, `{"offsetTable":5}`, `{"offsetTable":{"x":1}}`, `{"offsetTable":{{"topic":"SMS","brokerName":"b","queueId":-1}:1}}`,
		`{"offsetTable":{{"topic":"SMS","brokerName":"b","queueId":1}:-1}}`, `{"offsetTable":{{"topic":"SMS","queueId":1}:1}}`, `{"offsetTable":{{"topic":"SMS"`} {
		_, err := DecodeOffsetTable([]byte(body))
		require.ErrorIs(t, err, msha.ErrInvalid, body)
	}
}

func TestDecodeReset(t *testing.T) {
	q := Queue{"SMS", "broker-a", 2}
	req := NewRequest(ReqResetConsumerOffset, map[string]string{"group": "channel", "topic": "SMS", "timestamp": "-1"}, EncodeOffsetTable(map[Queue]int64{q: 7}))
	got, err := DecodeReset(req)
	require.NoError(t, err)
	require.Equal(t, &OffsetReset{"channel", "SMS", map[Queue]int64{q: 7}}, got)
	req.Ext["topic"] = "MAIL"
	_, err = DecodeReset(req)
	require.ErrorIs(t, err, msha.ErrInvalid)
	req.Body = []byte("{{")
	_, err = DecodeReset(req)
	require.Error(t, err)
}

func FuzzDecodeOffsetTable(f *testing.F) {
	f.Add(EncodeOffsetTable(map[Queue]int64{{"SMS", "broker-a", 0}: 5, {"SMS", `b"}:\`, 1}: 6}))
	f.Add([]byte(`{"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"SMS\"}":5}}`))
	f.Add([]byte(`{"offsetTable":[{"brokerName":"b","offset":5,"queueId":0,"topic":"SMS"}]}`))
	f.Add([]byte(`{{{"a":{}}:{1:2}:"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := DecodeOffsetTable(b)
		if err != nil {
			require.True(t, errors.Is(err, msha.ErrInvalid), err)
			return
		}
		again, err := DecodeOffsetTable(EncodeOffsetTable(table))
		require.NoError(t, err)
		require.Equal(t, table, again)
	})
}
