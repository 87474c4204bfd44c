package remoting

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// Options of a Client. The zero value is valid.
type Options struct {
	Logger        *slog.Logger     // nil: slog.Default()
	DialTimeout   time.Duration    // 0: 3 s
	Credentials   msha.Credentials // sign every request; the zero value signs nothing
	TLS           *tls.Config      // nil: plain TCP
	Serialization Serialization
	OnRequest     func(addr string, c *Command) *Command // what the server asks; the result, if any, is its answer. Must not block
	OnDrop        func(addr string)                      // a connection was lost
}

// ErrDropped says that the connection ended while a call was in flight: the server may or may not have executed it.
var ErrDropped = errors.New("connection dropped with the call in flight")

// Client keeps one connection per address. All servers get the same credentials and TLS configuration, so clusters that differ in these
// need a client each. Its methods are safe for concurrent use.
type Client struct {
	opts   Options
	mu     sync.Mutex
	conns  map[string]*clientConn
	closed bool
	ctx    context.Context // ends with Close: dials give up
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// NewClient returns a client without connections; nil options are valid.
func NewClient(o *Options) *Client {
	c := &Client{conns: map[string]*clientConn{}}
	if o != nil {
		c.opts = *o
	}
	if c.opts.Logger == nil {
		c.opts.Logger = slog.Default()
	}
	if c.opts.DialTimeout <= 0 {
		c.opts.DialTimeout = 3 * time.Second
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Call sends a request and waits for its response. It returns ctx's error when ctx ends first, ErrDropped at once when the connection
// ends, and never retries what may have been sent.
func (c *Client) Call(ctx context.Context, addr string, req *Command) (*Command, error) {
	conn, answer, err := c.start(ctx, addr, req)
	if err != nil {
		return nil, err
	}
	return conn.wait(ctx, req, answer)
}

// callOn is Call on one connection: it fails with ErrDropped once that has ended.
func (c *Client) callOn(ctx context.Context, conn *clientConn, req *Command) (*Command, error) {
	sign(req, c.opts.Credentials)
	answer, ok := conn.expect(req.Opaque)
	if !ok {
		return nil, conn.dropError()
	}
	if err := c.write(ctx, conn, req); err != nil {
		conn.forget(req.Opaque)
		return nil, err
	}
	return conn.wait(ctx, req, answer)
}

// Oneway sends a request without waiting for a response.
func (c *Client) Oneway(ctx context.Context, addr string, req *Command) error {
	req.Flag |= flagOneway
	conn, _, err := c.start(ctx, addr, req)
	if err == nil {
		conn.forget(req.Opaque)
	}
	return err
}

// start writes the request; a connection found dead before anything was written is replaced once.
func (c *Client) start(ctx context.Context, addr string, req *Command) (*clientConn, chan *Command, error) {
	sign(req, c.opts.Credentials)
	for attempt := 0; ; attempt++ {
		conn, err := c.connect(ctx, addr)
		if err != nil {
			return nil, nil, err
		}
		answer, ok := conn.expect(req.Opaque)
		if !ok {
			if attempt == 0 {
				continue
			}
			return nil, nil, conn.dropError()
		}
		if err := c.write(ctx, conn, req); err != nil {
			conn.forget(req.Opaque)
			return nil, nil, err
		}
		return conn, answer, nil
	}
}

func (c *Client) connect(ctx context.Context, addr string) (*clientConn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, fmt.Errorf("remoting client: %w", msha.ErrClosed)
	}
	conn := c.conns[addr]
	if conn == nil {
		conn = &clientConn{addr: addr, ready: make(chan struct{}), writing: make(chan struct{}, 1), pending: map[int32]chan *Command{}, gone: make(chan struct{})}
		c.conns[addr] = conn
		c.wg.Add(1)
		go c.run(conn)
	}
	c.mu.Unlock()
	select {
	case <-conn.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if conn.err != nil {
		return nil, conn.err
	}
	return conn, nil
}

// run dials, reads until the connection ends and fails what is in flight.
func (c *Client) run(conn *clientConn) {
	defer c.wg.Done()
	nc, err := c.dial(conn.addr)
	if err != nil {
		conn.err = fmt.Errorf("connect to %s: %w", conn.addr, c.cause(err))
		c.remove(conn)
		conn.drop(conn.err)
		close(conn.ready)
		return
	}
	c.mu.Lock()
	conn.net = nc
	closed := c.closed
	c.mu.Unlock()
	if closed {
		nc.Close() //nolint:errcheck // being closed
	}
	close(conn.ready)
	err = c.read(conn)
	nc.Close() //nolint:errcheck // ended already
	c.remove(conn)
	conn.drop(c.cause(err))
	c.opts.Logger.Debug("connection ended", "addr", conn.addr, "cause", err)
	if c.opts.OnDrop != nil {
		c.opts.OnDrop(conn.addr)
	}
}

// cause says that the client was closed where that is why a connection ended.
func (c *Client) cause(err error) error {
	if c.ctx.Err() != nil {
		return fmt.Errorf("remoting client: %w", msha.ErrClosed)
	}
	return err
}

func (c *Client) dial(addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: c.opts.DialTimeout}
	if c.opts.TLS == nil {
		return d.DialContext(c.ctx, "tcp", addr)
	}
	conn, err := (&tls.Dialer{NetDialer: &d, Config: c.opts.TLS}).DialContext(c.ctx, "tcp", addr)
	var unreachable *net.OpError
	var unknown *tls.CertificateVerificationError
	if err != nil && !(errors.As(err, &unreachable) && unreachable.Op == "dial") && !errors.As(err, &unknown) {
		err = msha.Errorf("TLS handshake", addr, "does the server speak TLS? If not, leave it out of the unit's access", "%w", err)
	}
	return conn, err
}

func (c *Client) read(conn *clientConn) error {
	buffered := bufio.NewReader(conn.net) // large frames go past it
	for {
		frame, err := ReadFrame(buffered, nil)
		if err != nil {
			return err
		}
		cmd, _, err := DecodeFrame(frame)
		if err != nil {
			return err
		}
		if cmd.IsResponse() {
			conn.deliver(cmd)
			continue
		}
		if c.opts.OnRequest == nil {
			continue
		}
		if reply := c.opts.OnRequest(conn.addr, cmd); reply != nil && !cmd.IsOneway() {
			if err := c.write(context.Background(), conn, reply); err != nil {
				return err
			}
		}
	}
}

// writeTimeout bounds a write whose context has no end: a frozen peer must not block its callers for ever.
const writeTimeout = 30 * time.Second

// maxKeptFrame bounds the memory that a connection keeps for the next frame to be written.
const maxKeptFrame = 8 << 20

func (c *Client) write(ctx context.Context, conn *clientConn, cmd *Command) error {
	select {
	case conn.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-conn.writing }()
	if err := ctx.Err(); err != nil { // nothing is written yet: the others' connection must not suffer
		return err
	}
	frame, err := AppendFrame(conn.frame, cmd, c.opts.Serialization)
	if err != nil {
		return err
	}
	if cap(frame) <= maxKeptFrame {
		conn.frame = frame[:0]
	}
	deadline := time.Now().Add(writeTimeout)
	own, ok := ctx.Deadline()
	if ok && own.Before(deadline) {
		deadline = own
	}
	conn.net.SetWriteDeadline(deadline) //nolint:errcheck // the write tells
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.net.SetWriteDeadline(time.Unix(1, 0)) //nolint:errcheck // the write tells
		close(interrupted)
	})
	defer func() {
		if !stop() {
			<-interrupted // or it would end the next writer's deadline
		}
	}()
	if n, err := conn.net.Write(frame); err != nil {
		timedOut := errors.Is(err, os.ErrDeadlineExceeded)
		if n > 0 || !timedOut || c.opts.TLS != nil { // a frame is half written, or the stream is broken: it is unusable
			conn.net.Close() //nolint:errcheck // its reader reports
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case timedOut && deadline.Equal(own): // the socket's timer was faster than the context's
			return context.DeadlineExceeded
		}
		return fmt.Errorf("write to %s: %w: %w", conn.addr, ErrDropped, c.cause(err))
	}
	return nil
}

func (c *Client) remove(conn *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[conn.addr] == conn {
		delete(c.conns, conn.addr)
	}
}

// Close ends all connections and waits for the client's goroutines; calls in flight fail with ErrDropped and msha.ErrClosed.
func (c *Client) Close() {
	c.cancel()
	c.mu.Lock()
	c.closed = true
	for _, conn := range c.conns {
		if conn.net != nil {
			conn.net.Close() //nolint:errcheck // its reader reports
		}
	}
	c.mu.Unlock()
	c.wg.Wait()
}
