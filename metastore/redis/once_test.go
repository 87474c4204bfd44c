package redis

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server that closes the connection instead of an answer: the client would send most commands again.
func TestAWriteWithoutAnswerIsNotSentAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // it ends with the test
	var scripts atomic.Int32
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close() //nolint:errcheck // the client has its end
				buf := make([]byte, 1<<16)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					switch request := bytes.ToLower(buf[:n]); {
					case bytes.Contains(request, []byte("evalsha")):
						scripts.Add(1)
						return
					case bytes.Contains(request, []byte("hmget")):
						_, _ = c.Write([]byte("*4\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n"))
					default:
						_, _ = c.Write([]byte("-ERR unknown command\r\n"))
					}
				}
			}()
		}
	}()
	s, err := Open(t.Context(), []string{listener.Addr().String()}, nil)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "k", []byte("v"), 0)
	require.ErrorContains(t, err, maybeStored)
	require.EqualValues(t, 1, scripts.Load())
	require.NoError(t, s.Close())
}
