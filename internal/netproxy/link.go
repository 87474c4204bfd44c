package netproxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	chunkSize = 32 << 10
	queued    = 256 // chunks under way in one direction; together they bound throughput at a given delay
)

// link is one connection of a client and its counterpart at the target.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	done   chan struct{} // closed by reset

	mu     sync.Mutex
	server *net.TCPConn
	ended  bool
}

// chunk is what was read at once, or the end of the stream.
type chunk struct {
	data []byte
	due  time.Time
	err  error
}

func newLink(p *Proxy, client *net.TCPConn) *link {
	return &link{proxy: p, client: client, done: make(chan struct{})}
}

// reset ends both connections without a good-bye, so that neither side takes what it has for everything there was.
func (l *link) reset() { l.end(abort) }

// finish frees the connections once both sides have said good-bye; what lies in their buffers still arrives.
func (l *link) finish() { l.end(func(c *net.TCPConn) { c.Close() }) } //nolint:errcheck // nothing more to say

func (l *link) end(how func(*net.TCPConn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	close(l.done)
	how(l.client)
	if l.server != nil {
		how(l.server)
	}
}

func abort(c *net.TCPConn) {
	c.SetLinger(0) //nolint:errcheck // it may be closed
	c.Close()      //nolint:errcheck // likewise
}

// serve connects to the target and forwards until both directions have ended.
func (l *link) serve() {
	server, err := l.dial()
	if err != nil {
		l.reset()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.forward(l.client, server) })
	both.Go(func() { l.forward(server, l.client) })
	both.Wait()
	l.finish()
}

func (l *link) dial() (*net.TCPConn, error) {
	if !l.proxy.pass(l.done) {
		return nil, net.ErrClosed
	}
	conn, err := new(net.Dialer).DialContext(l.proxy.ctx, "tcp", l.proxy.target)
	if err != nil {
		return nil, err
	}
	server := conn.(*net.TCPConn) // a TCP dial gives nothing else
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		abort(server)
		return nil, net.ErrClosed
	}
	l.server = server
	return server, nil
}

// forward carries one direction. Reading goes on while chunks wait, as the network takes what is sent.
func (l *link) forward(from, to *net.TCPConn) {
	chunks := make(chan chunk, queued)
	var reader sync.WaitGroup
	reader.Go(func() { l.read(from, chunks) })
	if err := l.write(to, chunks); errors.Is(err, io.EOF) {
		to.CloseWrite() //nolint:errcheck // the other side may have gone
	} else {
		l.reset()
	}
	reader.Wait()
}

func (l *link) read(from *net.TCPConn, chunks chan<- chunk) {
	for {
		buf := make([]byte, chunkSize)
		n, err := from.Read(buf)
		select {
		case chunks <- chunk{data: buf[:n], due: time.Now().Add(l.proxy.latency()), err: err}:
		case <-l.done:
			return
		}
		if err != nil {
			return
		}
	}
}

// write delivers chunks in their order, when they are due and nothing vanishes; the error is the stream's end, io.EOF for a proper one.
func (l *link) write(to *net.TCPConn, chunks <-chan chunk) error {
	for {
		var c chunk
		select {
		case c = <-chunks:
		case <-l.done:
			return net.ErrClosed
		}
		if wait := time.Until(c.due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-l.done:
				return net.ErrClosed
			}
		}
		if !l.proxy.pass(l.done) {
			return net.ErrClosed
		}
		if len(c.data) > 0 {
			if _, err := to.Write(c.data); err != nil {
				return err
			}
		}
		if c.err != nil {
			return c.err
		}
	}
}

func (p *Proxy) latency() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.jitter <= 0 {
		return p.delay
	}
	return p.delay + rand.N(p.jitter)
}
