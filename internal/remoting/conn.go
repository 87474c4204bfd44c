package remoting

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// clientConn is one connection of a Client and the calls in flight on it.
type clientConn struct {
	addr  string
	ready chan struct{} // closed once dialled; then dialErr and net are set
	net   net.Conn
	err   error

	writing chan struct{} // holds one token: a mutex that a context can give up waiting for
	frame   []byte        // empty; memory for the next frame, of who holds writing

	mu      sync.Mutex
	pending map[int32]chan *Command
	dropped error // set once, before the pending channels are closed
	gone    chan struct{}
}

func (conn *clientConn) wait(ctx context.Context, req *Command, answer <-chan *Command) (*Command, error) {
	defer conn.forget(req.Opaque)
	select {
	case resp, ok := <-answer:
		if !ok {
			return nil, conn.dropError()
		}
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *clientConn) expect(opaque int32) (chan *Command, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped != nil {
		return nil, false
	}
	ch := make(chan *Command, 1)
	c.pending[opaque] = ch
	return ch, true
}

func (c *clientConn) forget(opaque int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, opaque)
}

func (c *clientConn) deliver(resp *Command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.pending[resp.Opaque]; ch != nil {
		delete(c.pending, resp.Opaque)
		ch <- resp
	}
}

func (c *clientConn) drop(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cause == nil {
		cause = net.ErrClosed
	}
	c.dropped = cause
	close(c.gone)
	for opaque, ch := range c.pending {
		delete(c.pending, opaque)
		close(ch)
	}
}

func (c *clientConn) dropError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("%s: %w: %w", c.addr, ErrDropped, c.dropped)
}
