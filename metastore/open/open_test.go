package open

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Options.TLS is meant for everything, also where the URL's scheme does not ask for it: the password is not sent in the clear.
func TestOptionsTLSConcernsTheLoginOfNacosToo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // a test
	first := make(chan []byte, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			close(first)
			return
		}
		defer c.Close() //nolint:errcheck // a test
		b := make([]byte, 1<<10)
		n, _ := c.Read(b)
		first <- b[:n]
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		s, err := Open(ctx, "nacos://user:secret@"+listener.Addr().String(), &Options{TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
		if err == nil {
			_ = s.Close()
		}
	}()
	got := <-first
	cancel()
	<-opened
	require.NotEmpty(t, got)
	require.EqualValues(t, 22, got[0], "a TLS handshake, not %q", got)
}
