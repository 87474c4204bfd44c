package embedmq

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	msha "github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// NameServer is the name under which Fault.Broker addresses the name server.
const NameServer = "namesrv"

// Cluster is a running name server and its brokers. All methods are safe for concurrent use.
//
// One mutex owns the whole state. Handlers run under it and never write to a connection: what they want sent to others is
// queued in out and sent once the lock is free, so a client that does not read cannot stop the cluster.
type Cluster struct {
	opts *Options
	ns   *nameServer

	mu      sync.Mutex
	closed  bool
	brokers map[string]*broker
	faults  []*Injected
	served  map[int]int // requests by code
	out     []func()
	dirty   []*queue
	sweep   func() bool
	jobs    sync.WaitGroup // sends and delayed answers
	stops   map[int]func() // delayed answers not yet due
	stopSeq int
}

// Start starts a cluster; nil options are valid. It returns when every port is open. ErrInvalid for bad options.
func Start(o *Options) (*Cluster, error) {
	opts := o.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	c := &Cluster{opts: opts, brokers: map[string]*broker{}, served: map[int]int{}, stops: map[int]func(){}}
	ns, err := startNameServer(c)
	if err != nil {
		return nil, err
	}
	c.ns = ns
	for _, name := range opts.Brokers {
		b := newBroker(c, name)
		c.brokers[name] = b
		var err error
		c.locked(func() { err = b.open() }) // earlier brokers run already
		if err != nil {
			c.Close()
			return nil, err
		}
		if err := b.start("127.0.0.1:0"); err != nil {
			c.Close()
			return nil, err
		}
	}
	c.mu.Lock()
	c.armSweep()
	c.mu.Unlock()
	return c, nil
}

// NameServer is the host:port for clients.
func (c *Cluster) NameServer() string { return c.ns.addr }

// BrokerAddr is the host:port of a broker, the last one if it was killed; empty if the cluster has no such broker.
func (c *Cluster) BrokerAddr(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.brokers[name]; b != nil {
		return b.addr
	}
	return ""
}

// Close stops everything and returns when the last goroutine of the cluster is gone. It may be called again.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.closed = true
	if c.sweep != nil {
		c.sweep()
	}
	for _, stop := range c.stops {
		stop()
	}
	c.stops = map[int]func(){}
	var servers []*listener
	for _, b := range c.brokers {
		servers = append(servers, b.halt())
	}
	for _, f := range c.faults {
		f.wake()
	}
	c.mu.Unlock()
	for _, s := range append(servers, c.ns.srv) {
		s.close()
	}
	c.jobs.Wait()
	for _, b := range c.brokers {
		b.journal.close()
	}
}

// locked runs f under the lock, then whatever f queued to be sent.
func (c *Cluster) locked(f func()) {
	c.mu.Lock()
	f()
	c.release()
	c.mu.Unlock()
}

// release wakes held pulls whose queues got messages and starts the queued sends; the lock is held.
func (c *Cluster) release() {
	for len(c.dirty) > 0 {
		q := c.dirty[0]
		c.dirty = c.dirty[1:]
		q.dirty = false
		q.wake()
	}
	if len(c.out) == 0 || c.closed {
		c.out = nil
		return
	}
	out := c.out
	c.out = nil
	c.jobs.Add(1)
	go func() {
		defer c.jobs.Done()
		for _, f := range out {
			f()
		}
	}()
}

// post queues a command for a connection; errors mean that the client is gone.
func (c *Cluster) post(conn *remoting.Conn, cmd *remoting.Command) {
	c.out = append(c.out, func() { _ = conn.Send(cmd) })
}

// later runs f under the lock after d on the cluster's clock, unless the cluster is closed before; the lock is held.
func (c *Cluster) later(d time.Duration, f func()) {
	c.stopSeq++
	id := c.stopSeq
	stop := c.opts.Clock.AfterFunc(d, func() {
		c.locked(func() {
			delete(c.stops, id)
			if !c.closed {
				f()
			}
		})
	})
	c.stops[id] = func() { stop() }
}

// armSweep looks every 10 s for clients that stopped sending heartbeats, as a broker does.
func (c *Cluster) armSweep() {
	c.sweep = c.opts.Clock.AfterFunc(10*time.Second, func() {
		c.locked(func() {
			if c.closed {
				return
			}
			for _, b := range c.brokers {
				b.expireClients()
			}
			c.armSweep()
		})
	})
}

// listener is a remoting server and the goroutine that serves it.
type listener struct {
	srv  *remoting.Server
	done chan struct{}
	addr netip.AddrPort
}

func (c *Cluster) listen(addr string, h remoting.Handler, o *remoting.ServerOptions) (*listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, msha.Errorf("embedmq.listen", addr, "", "%w", err)
	}
	l := &listener{srv: remoting.NewServer(h, o), done: make(chan struct{}), addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	if c.opts.TLS != nil {
		ln = tls.NewListener(ln, c.opts.TLS)
	}
	go func() {
		defer close(l.done)
		_ = l.srv.Serve(ln) // ends with the error of the closed listener
	}()
	return l, nil
}

func (l *listener) close() {
	if l == nil {
		return
	}
	l.srv.Close()
	<-l.done
}

var errNoBroker = errors.New("no such broker")
