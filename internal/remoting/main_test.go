package remoting

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// patience bounds waits for what must happen; reaching it is a failure.
const patience = time.Minute

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// serve starts a server that can be stopped before the test ends.
func serve(t *testing.T, addr string, h Handler) (string, func()) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	return l.Addr().String(), serveOn(t, l, h)
}

func serveOn(t *testing.T, l net.Listener, h Handler) func() {
	t.Helper()
	s := NewServer(h, &ServerOptions{Logger: quiet})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	stop := sync.OnceFunc(func() {
		s.Close()
		if err := <-done; !errors.Is(err, msha.ErrClosed) { // the server may be closed before it serves
			require.NoError(t, err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// rawServer accepts connections and leaves the rest to the test.
func rawServer(t *testing.T) (string, <-chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	conns := make(chan net.Conn, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for {
			select {
			case c := <-conns:
				c.Close()
			default:
				return
			}
		}
	})
	return l.Addr().String(), conns
}

func newClient(t *testing.T, o *Options) *Client {
	t.Helper()
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.Logger = quiet
	c := NewClient(&opts)
	t.Cleanup(c.Close)
	return c
}

func echo(_ context.Context, _ *Conn, req *Command) *Command {
	resp := req.Reply(RespSuccess, "")
	resp.Ext, resp.Body = req.Ext, req.Body
	return resp
}
