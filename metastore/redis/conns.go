package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// conns opens the connections of a client. It closes them all at once, which ends every wait for an answer: the client itself waits for
// a dead server until its timeout. And it paces attempts: the client tries for each of many requests, several times.
type conns struct {
	timeout time.Duration
	tls     *tls.Config
	ended   context.Context // done once close is called: ends attempts, which the client makes without its requests' contexts
	end     context.CancelFunc

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
	failed map[string]*failure // by address
}

// failure is the last one of an address.
type failure struct {
	err   error
	pause time.Duration
	until time.Time // no new attempt before
}

const minPause, maxPause = 50 * time.Millisecond, time.Second

func newConns(timeout time.Duration, config *tls.Config) *conns {
	c := &conns{timeout: timeout, tls: config, open: map[net.Conn]struct{}{}, failed: map[string]*failure{}}
	c.ended, c.end = context.WithCancel(context.Background())
	return c
}

// plainConn stays a syscall.Conn, by which the client sees before a request that the server has closed the connection.
type plainConn struct {
	*net.TCPConn
	first first
}

func (c *plainConn) Read(b []byte) (int, error) { return c.first.read(c.TCPConn, b) }
func (c *plainConn) Close() error               { return c.first.of.forget(c.TCPConn) }

type tlsConn struct {
	*tls.Conn
	first first
}

func (c *tlsConn) Read(b []byte) (int, error) { return c.first.read(c.Conn, b) }
func (c *tlsConn) Close() error               { return c.first.of.forget(c.Conn) }

// first waits for the first byte of the server: a connection that ends before counts as one that was not made.
type first struct {
	of    *conns
	addr  string
	heard bool
}

func (f *first) read(from net.Conn, b []byte) (int, error) {
	n, err := from.Read(b)
	if f.heard {
		return n, err
	}
	if n > 0 {
		f.heard = true
		f.of.succeeded(f.addr)
	} else if err != nil && !errors.Is(err, net.ErrClosed) && !isTimeout(err) { // who waited may have had little time
		f.of.mu.Lock()
		defer f.of.mu.Unlock()
		f.of.remember(f.addr, err)
	}
	return n, err
}

// failedConn is what the client gets for a connection that was not made: it logs failed attempts, each of them, where the user cannot
// tell it not to, but not failed requests.
type failedConn struct {
	net.Conn // nil
	err      error
}

func (c failedConn) Read([]byte) (int, error)         { return 0, c.err }
func (c failedConn) Write([]byte) (int, error)        { return 0, c.err }
func (c failedConn) Close() error                     { return nil }
func (c failedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c failedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c failedConn) SetDeadline(time.Time) error      { return nil }
func (c failedConn) SetReadDeadline(time.Time) error  { return nil }
func (c failedConn) SetWriteDeadline(time.Time) error { return nil }

// dial implements the client's Dialer, with the TLS handshake.
func (c *conns) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := c.recent(addr); err != nil {
		return failedConn{err: err}, nil
	}
	within, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	defer context.AfterFunc(c.ended, cancel)()
	dialer := &net.Dialer{}
	dial := dialer.DialContext
	if c.tls != nil {
		dial = (&tls.Dialer{NetDialer: dialer, Config: c.tls}).DialContext
	}
	raw, err := dial(within, network, addr)
	if ctx.Err() != nil {
		if err == nil {
			_ = raw.Close()
		}
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		if err == nil {
			_ = raw.Close()
		}
		return failedConn{err: net.ErrClosed}, nil
	}
	if err != nil {
		c.remember(addr, err)
		return failedConn{err: c.failed[addr].err}, nil
	}
	c.open[raw] = struct{}{}
	switch raw := raw.(type) {
	case *net.TCPConn:
		return &plainConn{raw, first{of: c, addr: addr}}, nil
	case *tls.Conn:
		return &tlsConn{raw, first{of: c, addr: addr}}, nil
	default:
		return nil, fmt.Errorf("dial %s: unexpected %T", network, raw)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func (c *conns) succeeded(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failed, addr)
}

// recent is the error of an attempt that failed a moment ago.
func (c *conns) recent(addr string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.failed[addr]; f != nil && time.Now().Before(f.until) {
		return f.err
	}
	return nil
}

// remember needs mu. Any failure of a dial counts as one before a request was sent, also in the handshake of TLS.
func (c *conns) remember(addr string, err error) {
	f := c.failed[addr]
	if f == nil {
		f = &failure{}
		c.failed[addr] = f
	}
	if !isDial(err) {
		err = &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	f.err = fmt.Errorf("connect: %w", err) // the client takes the outermost error off, sometimes
	f.pause = min(max(2*f.pause, minPause), maxPause)
	f.until = time.Now().Add(f.pause)
}

func (c *conns) forget(raw net.Conn) error {
	c.mu.Lock()
	_, open := c.open[raw]
	delete(c.open, raw)
	c.mu.Unlock()
	if !open {
		return nil
	}
	return raw.Close()
}

// close closes all connections and refuses new ones.
func (c *conns) close() {
	c.mu.Lock()
	c.closed = true
	open := c.open
	c.open = map[net.Conn]struct{}{}
	c.mu.Unlock()
	c.end()
	for raw := range open {
		if t, ok := raw.(*tls.Conn); ok {
			raw = t.NetConn() // without the goodbye of TLS, which waits for a dead server
		}
		_ = raw.Close()
	}
}
