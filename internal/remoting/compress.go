package remoting

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/go-msha/msha"
)

// maxPlain bounds a decompressed body: a corrupt one must not exhaust memory.
const maxPlain = 64 << 20

// PlainBody returns the body as its producer gave it; ErrInvalid if it does not decompress, ErrTooLarge beyond 64 MiB. It does not
// change m.
func (m *Message) PlainBody() ([]byte, error) { return m.plainBody(maxPlain) }

func (m *Message) plainBody(limit int) ([]byte, error) {
	if m.SysFlag&SysCompressed == 0 {
		return m.Body, nil
	}
	var r io.Reader
	switch (m.SysFlag & SysCompressionMask) >> 8 {
	case 0, 3:
		z, err := zlib.NewReader(bytes.NewReader(m.Body))
		if err != nil {
			return nil, errMessage("zlib body: %v", err)
		}
		r = z
	case 1:
		r = lz4.NewReader(bytes.NewReader(m.Body))
	case 2:
		z, err := zstd.NewReader(bytes.NewReader(m.Body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)))
		if err != nil {
			return nil, errMessage("zstd body: %v", err)
		}
		defer z.Close()
		r = z
	default:
		return nil, errMessage("unknown compression in sysFlag %#x", m.SysFlag)
	}
	plain, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, tooLong(limit)
	}
	if err != nil {
		return nil, errMessage("compressed body: %v", err)
	}
	if len(plain) > limit {
		return nil, tooLong(limit)
	}
	return plain, nil
}

func tooLong(limit int) error {
	return fmt.Errorf("remoting message: plain body %w: the limit is %d bytes", msha.ErrTooLarge, limit)
}
