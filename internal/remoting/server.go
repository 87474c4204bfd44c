package remoting

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// Handler serves one request and returns the response; nil if there is none, or if it is sent later with Conn.Send. Each request runs
// in its own goroutine; ctx ends with the connection.
type Handler func(ctx context.Context, conn *Conn, req *Command) *Command

// ServerOptions of NewServer. The zero value is valid.
type ServerOptions struct {
	Logger  *slog.Logger
	OnClose func(*Conn) // a connection ended; called once, after its last request began
}

// Server accepts connections. Its methods are safe for concurrent use.
type Server struct {
	handler Handler
	opts    ServerOptions
	mu      sync.Mutex
	closed  bool
	lis     map[net.Listener]struct{}
	conns   map[*Conn]struct{}
	wg      sync.WaitGroup
}

// NewServer returns a server without listeners; nil options are valid.
func NewServer(h Handler, o *ServerOptions) *Server {
	s := &Server{handler: h, lis: map[net.Listener]struct{}{}, conns: map[*Conn]struct{}{}}
	if o != nil {
		s.opts = *o
	}
	if s.opts.Logger == nil {
		s.opts.Logger = slog.Default()
	}
	return s
}

// Conn is a client's connection. Its methods are safe for concurrent use.
type Conn struct {
	net    net.Conn
	cancel context.CancelFunc
	ser    Serialization // of the newest request
	mu     sync.Mutex    // serializes writes

	valueMu sync.Mutex
	values  map[any]any
}

// RemoteAddr is the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.net.RemoteAddr() }

// Value returns what SetValue stored under key, or nil.
func (c *Conn) Value(key any) any {
	c.valueMu.Lock()
	defer c.valueMu.Unlock()
	return c.values[key]
}

// SetValue keeps a value with the connection.
func (c *Conn) SetValue(key, value any) {
	c.valueMu.Lock()
	defer c.valueMu.Unlock()
	if c.values == nil {
		c.values = map[any]any{}
	}
	c.values[key] = value
}

// Send writes a command: a late response, or a request of the server. It blocks at most writeTimeout.
func (c *Conn) Send(cmd *Command) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	frame, err := AppendFrame(nil, cmd, c.ser)
	if err != nil {
		return err
	}
	c.net.SetWriteDeadline(time.Now().Add(writeTimeout)) //nolint:errcheck // the write tells
	if _, err = c.net.Write(frame); err != nil {
		c.net.Close() //nolint:errcheck // a frame may be half written
	}
	return err
}

// Close ends the connection.
func (c *Conn) Close() { c.net.Close() } //nolint:errcheck // nothing to do about it

// Serve accepts connections from l until l or the server is closed; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		l.Close() //nolint:errcheck // never served
		return msha.ErrClosed
	}
	s.lis[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.lis, l)
		s.mu.Unlock()
	}()
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		ctx, cancel := context.WithCancel(context.Background())
		conn := &Conn{net: nc, cancel: cancel}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			cancel()
			nc.Close() //nolint:errcheck // never served
			return nil
		}
		s.conns[conn] = struct{}{}
		s.wg.Add(1)
		s.mu.Unlock()
		go s.serveConn(ctx, conn)
	}
}

func (s *Server) serveConn(ctx context.Context, conn *Conn) {
	defer s.wg.Done()
	defer func() {
		conn.cancel()
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		if s.opts.OnClose != nil {
			s.opts.OnClose(conn)
		}
	}()
	for {
		frame, err := ReadFrame(conn.net, nil)
		if err != nil {
			return
		}
		req, ser, err := DecodeFrame(frame)
		if err != nil {
			s.opts.Logger.Warn("connection closed: frame cannot be decoded", "peer", conn.RemoteAddr().String(), "error", err)
			return
		}
		if req.IsResponse() {
			continue
		}
		conn.mu.Lock()
		conn.ser = ser
		conn.mu.Unlock()
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			resp := s.handler(ctx, conn, req)
			if resp == nil || req.IsOneway() {
				return
			}
			if err := conn.Send(resp); err != nil {
				s.opts.Logger.Debug("response not sent", "peer", conn.RemoteAddr().String(), "error", err)
			}
		}()
	}
}

// Close closes listeners and connections and waits for running handlers, whose contexts have ended.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for l := range s.lis {
		l.Close() //nolint:errcheck // its Serve returns
	}
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
