package remoting

import (
	"bytes"
	"compress/zlib"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

var compressions = map[string]struct {
	flag int32
	pack func(t testing.TB, plain []byte) []byte
}{
	"zlib":          {SysCompressed | 3<<8, packZlib},
	"zlib unmarked": {SysCompressed, packZlib},
	"lz4": {SysCompressed | 1<<8, func(t testing.TB, plain []byte) []byte {
		var b bytes.Buffer
		pack(t, lz4.NewWriter(&b), plain)
		return b.Bytes()
	}},
	"zstd": {SysCompressed | 2<<8, func(t testing.TB, plain []byte) []byte {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		require.NoError(t, err)
		pack(t, w, plain)
		return b.Bytes()
	}},
}

func packZlib(t testing.TB, plain []byte) []byte {
	var b bytes.Buffer
	pack(t, zlib.NewWriter(&b), plain)
	return b.Bytes()
}

func pack(t testing.TB, w io.WriteCloser, plain []byte) {
	_, err := w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

func TestPlainBody(t *testing.T) {
	plain := bytes.Repeat([]byte("guangzhou "), 50_000)
	for name, c := range compressions {
		m := &Message{SysFlag: c.flag, Body: c.pack(t, plain)}
		packed := bytes.Clone(m.Body)
		got, err := m.PlainBody()
		require.NoError(t, err, name)
		require.Equal(t, plain, got, name)
		require.Equal(t, packed, m.Body, name)
		m.Body = c.pack(t, nil)
		got, err = m.PlainBody()
		require.NoError(t, err, name)
		require.Empty(t, got, name)
	}
	got, err := (&Message{Body: []byte("as it is"), SysFlag: SysTransCommit}).PlainBody()
	require.NoError(t, err)
	require.Equal(t, "as it is", string(got))
}

func TestCorruptBodiesAreErrors(t *testing.T) {
	plain := bytes.Repeat([]byte("0123456789abcdef-"), 300)
	for name, c := range compressions {
		packed := c.pack(t, plain)
		for what, body := range map[string][]byte{
			"text":      []byte("not compressed at all"),
			"cut":       packed[:len(packed)/2],
			"no header": packed[3:],
		} {
			_, err := (&Message{SysFlag: c.flag, Body: body}).PlainBody()
			require.ErrorIs(t, err, msha.ErrInvalid, "%s %s", name, what)
		}
		for i := 0; i < len(packed); i += 7 {
			broken := bytes.Clone(packed)
			broken[i] ^= 0x40
			if got, err := (&Message{SysFlag: c.flag, Body: broken}).PlainBody(); err == nil {
				require.LessOrEqual(t, len(got), maxPlain, "%s byte %d", name, i)
			}
		}
	}
	_, err := (&Message{SysFlag: SysCompressed | 5<<8, Body: []byte("x")}).PlainBody()
	require.ErrorIs(t, err, msha.ErrInvalid, "unknown kind")
}

func TestDecompressionIsBounded(t *testing.T) {
	const limit = 8 << 20 // not below the window of a ZSTD frame
	for name, c := range compressions {
		m := &Message{SysFlag: c.flag, Body: c.pack(t, make([]byte, limit+1))}
		require.Less(t, len(m.Body), limit/100, name)
		_, err := m.plainBody(limit)
		require.ErrorIs(t, err, msha.ErrTooLarge, name)
	}
}
