package remoting

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func bin(t *testing.T, parts ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
	require.NoError(t, err)
	return b
}

func TestBinaryHeaderBytes(t *testing.T) {
	c := &Command{Code: 310, Language: "GO", Version: 401, Opaque: 7, Flag: 2, Remark: "hé", Ext: map[string]string{"a": "grp"}, Body: []byte("xyz")}
	frame := bin(t,
		"00000029",          // length of the rest: 41
		"01 000022",         // serialization 1, header of 34
		"0136 09 0191",      // code, language, version
		"00000007 00000002", // opaque, flag
		"00000003 68c3a9",   // remark
		"0000000a",          // fields: 10 bytes
		"0001 61",           // name with a 2-byte length
		"00000003 677270",   // value with a 4-byte length
		"78797a")            // body
	got, err := AppendFrame([]byte("before"), c, RocketMQ)
	require.NoError(t, err)
	require.Equal(t, append([]byte("before"), frame...), got)
	read, err := ReadFrame(bytes.NewReader(frame), nil)
	require.NoError(t, err)
	back, s, err := DecodeFrame(read)
	require.NoError(t, err)
	require.Equal(t, RocketMQ, s)
	require.Equal(t, c, back)
}

func TestJSONHeaderBytes(t *testing.T) {
	// As a Java broker writes it, unknown fields included.
	header := `{"code":0,"extFields":{"msgId":"7F","queueOffset":"12"},"flag":1,"language":"JAVA","opaque":-3,"remark":"a\"b","serializeTypeCurrentRPC":"JSON","version":475}`
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(header))), header...)
	c, s, err := DecodeFrame(append(frame, 0xff, 0))
	require.NoError(t, err)
	require.Equal(t, JSON, s)
	require.Equal(t, &Command{Language: "JAVA", Version: 475, Opaque: -3, Flag: 1, Remark: `a"b`,
		Ext: map[string]string{"msgId": "7F", "queueOffset": "12"}, Body: []byte{0xff, 0}}, c)

	got, err := AppendFrame(nil, &Command{Code: 34, Language: "GO", Version: 401, Opaque: 1, Ext: map[string]string{"i": "k\x01v\x02"}}, JSON)
	require.NoError(t, err)
	want := `{"code":34,"language":"GO","version":401,"opaque":1,"flag":0,"extFields":{"i":"k\u0001v\u0002"}}`
	require.Equal(t, want, string(got[8:]))
	require.Equal(t, uint32(len(want)+4), binary.BigEndian.Uint32(got))
	require.Equal(t, uint32(len(want)), binary.BigEndian.Uint32(got[4:]))
}

func TestHeadersSurviveBothSerializations(t *testing.T) {
	for name, c := range map[string]*Command{
		"empty":     {Language: "JAVA"},
		"negative":  {Code: -1, Language: "RUST", Opaque: -1 << 31, Flag: -1},
		"many":      {Code: 32767, Language: "NODE_JS", Version: 65535, Opaque: 1<<31 - 1, Remark: "\u2028<&>\x00", Ext: map[string]string{"": "", "ключ": "значение", "z": "\x01\x02"}},
		"long body": {Language: "OTHER", Body: bytes.Repeat([]byte{0, 1, 0xfe}, 100_000)},
	} {
		for _, s := range []Serialization{JSON, RocketMQ} {
			b, err := AppendFrame(nil, c, s)
			require.NoError(t, err, name)
			frame, err := ReadFrame(bytes.NewReader(b), make([]byte, 0, 10))
			require.NoError(t, err, name)
			back, got, err := DecodeFrame(frame)
			require.NoError(t, err, name)
			require.Equal(t, s, got)
			require.Equal(t, c, back, name)
		}
	}
}

func TestAnUnknownLanguageIsKeptAsANumber(t *testing.T) {
	b, err := AppendFrame(nil, &Command{Language: "200"}, RocketMQ)
	require.NoError(t, err)
	c, _, err := DecodeFrame(b[4:])
	require.NoError(t, err)
	require.Equal(t, "200", c.Language)
	b, err = AppendFrame(nil, &Command{Language: "KLINGON"}, RocketMQ)
	require.NoError(t, err)
	c, _, err = DecodeFrame(b[4:])
	require.NoError(t, err)
	require.Equal(t, "OTHER", c.Language)
}

func TestWhatDoesNotFitAFrameIsRefused(t *testing.T) {
	for name, c := range map[string]*Command{
		"code":       {Code: 40000},
		"version":    {Version: 70000},
		"flag":       {Flag: 1 << 40},
		"field name": {Ext: map[string]string{strings.Repeat("n", 40000): ""}},
	} {
		dst := []byte("kept")
		got, err := AppendFrame(dst, c, RocketMQ)
		require.ErrorIs(t, err, msha.ErrInvalid, name)
		require.Equal(t, dst, got, name)
	}
	_, err := AppendFrame(nil, &Command{}, 9)
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = AppendFrame(nil, &Command{Body: make([]byte, MaxFrame)}, JSON)
	require.ErrorIs(t, err, msha.ErrTooLarge)
}

func TestEveryTruncationOfAFrameIsAnError(t *testing.T) {
	c := &Command{Code: 1, Language: "GO", Remark: "remark", Ext: map[string]string{"k": "v", "l": "w"}}
	for _, s := range []Serialization{JSON, RocketMQ} {
		b, err := AppendFrame(nil, c, s)
		require.NoError(t, err)
		for n := range b {
			_, err := ReadFrame(bytes.NewReader(b[:n]), nil)
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			require.Equal(t, want, err)
			if n >= 4 {
				_, _, err = DecodeFrame(b[4:n])
				require.ErrorIs(t, err, msha.ErrInvalid, "%d bytes", n)
			}
		}
	}
}

func TestLengthsOfABinaryHeaderAreChecked(t *testing.T) {
	const start = "0000 09 0191 00000001 00000000"
	for name, header := range map[string]string{
		"remark negative":      start + "ffffffff 00000000",
		"remark huge":          start + "7fffffff 00000000",
		"fields negative":      start + "00000000 80000000",
		"fields huge":          start + "00000000 7fffffff",
		"name negative":        start + "00000000 00000006 ffff 00000000",
		"name beyond fields":   start + "00000000 00000006 0010 00000000",
		"value negative":       start + "00000000 00000007 0001 61 ffffffff",
		"value huge":           start + "00000000 00000007 0001 61 7fffffff",
		"half a field":         start + "00000000 00000003 0001 61",
		"bytes after the last": start + "00000000 00000000 00",
	} {
		h := bin(t, header)
		frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(h))|1<<24), h...)
		_, _, err := DecodeFrame(frame)
		require.ErrorIs(t, err, msha.ErrInvalid, name)
	}
	_, _, err := DecodeFrame(bin(t, "00ffffff 7b7d"))
	require.ErrorIs(t, err, msha.ErrInvalid, "header beyond the frame")
	_, _, err = DecodeFrame(bin(t, "02000002 7b7d"))
	require.ErrorIs(t, err, msha.ErrInvalid, "unknown serialization")
	_, _, err = DecodeFrame([]byte{0, 0})
	require.ErrorIs(t, err, msha.ErrInvalid)
}

func TestAClaimedLengthIsNotAllocated(t *testing.T) {
	for _, claim := range []string{"ffffffff", "80000000", "01000001", "00000003", "00000000"} {
		_, err := ReadFrame(bytes.NewReader(bin(t, claim)), nil)
		require.ErrorIs(t, err, msha.ErrInvalid, claim)
	}
	short := append(bin(t, "01000000"), make([]byte, 100)...) // claims 16 MiB
	before := allocated()
	for range 20 {
		_, err := ReadFrame(bytes.NewReader(short), nil)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	require.Less(t, allocated()-before, uint64(20*MaxFrame/2))
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
