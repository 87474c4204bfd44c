package netproxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

type mode int

const (
	passing mode = iota
	cut
	blackhole
)

// Proxy forwards connections to one target. Its methods are safe for concurrent use and do not block, except Close.
type Proxy struct {
	target   string
	listener *net.TCPListener
	ctx      context.Context // ends with Close
	close    context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	mode     mode
	changed  chan struct{} // closed at the next change of mode
	delay    time.Duration
	jitter   time.Duration
	links    map[*link]struct{}
	accepted int
}

// Start listens on a free port of 127.0.0.1 and forwards to target, which need not serve yet.
func Start(target string) (*Proxy, error) { return StartAt("127.0.0.1:0", target) }

// StartAt is Start at a given address, for servers that tell their clients where to connect.
func StartAt(addr, target string) (*Proxy, error) {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("netproxy: %w", err)
	}
	l, err := net.ListenTCP("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("netproxy: %w", err)
	}
	p := &Proxy{target: target, listener: l, changed: make(chan struct{}), links: map[*link]struct{}{}}
	p.ctx, p.close = context.WithCancel(context.Background())
	p.running.Add(1)
	go p.accept()
	return p, nil
}

// Addr is the address to connect to instead of the target.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Accepted counts the connections made to the proxy so far, those it reset included.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open counts the connections that exist now.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Cut resets all connections, with what they had under way, and every new one at once, until Heal. (The port stays taken, so that
// nobody else gets it.)
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(cut)
	for l := range p.links {
		l.reset()
	}
}

// Blackhole lets what is sent vanish from sight until Heal: connections stay open and can be opened, and nothing arrives at the other
// side, not even their end. As TCP repeats what was lost, Heal brings it: a stream with a hole does not exist. For a partition that
// outlives its connections, Cut before Heal.
func (p *Proxy) Blackhole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(blackhole)
}

// Heal ends Cut and Blackhole; Delay stays.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(passing)
}

// Delay holds back what is read from now on by d plus a random part of jitter, in each direction; order is kept.
func (p *Proxy) Delay(d, jitter time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay, p.jitter = d, jitter
}

// Close resets all connections, frees the port and waits until nothing of the proxy runs. A second call does nothing.
func (p *Proxy) Close() {
	p.Cut()
	p.close()
	p.listener.Close() //nolint:errcheck // it may be closed
	p.running.Wait()
}

// set is called with mu held.
func (p *Proxy) set(m mode) {
	p.mode = m
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept() {
	defer p.running.Done()
	for {
		conn, err := p.listener.AcceptTCP()
		if err != nil {
			if p.ctx.Err() != nil {
				return
			}
			continue // the client gave up before it was accepted
		}
		l := newLink(p, conn)
		p.mu.Lock()
		p.accepted++
		refused := p.mode == cut || p.ctx.Err() != nil
		if !refused {
			p.links[l] = struct{}{}
			p.running.Add(1)
		}
		p.mu.Unlock()
		if refused {
			l.reset()
			continue
		}
		go func() {
			defer p.running.Done()
			l.serve()
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.links, l)
		}()
	}
}

// pass waits until nothing vanishes any more; false if done is closed first. Cut changes the mode and closes the connections in
// one step, so what a blackhole held cannot slip out in between.
func (p *Proxy) pass(done <-chan struct{}) bool {
	for {
		p.mu.Lock()
		m, changed := p.mode, p.changed
		p.mu.Unlock()
		if m != blackhole {
			return true
		}
		select {
		case <-changed:
		case <-done:
			return false
		}
	}
}
