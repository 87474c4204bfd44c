package nacostest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"

	pb "github.com/nacos-group/nacos-sdk-go/v2/api/grpc"
)

// portOffset is between the HTTP port, which clients are told, and the gRPC port.
const portOffset = 1000

// Server is one running server. Methods are safe for concurrent use.
type Server struct {
	opts Options
	port int // HTTP

	running sync.Mutex // held by Restart, Kill and Stop
	serving *serving   // nil while it is down

	mu       sync.Mutex // guards all that follows
	faults   Faults
	requests map[string]int // by type
	configs  map[configKey]*config
	services map[serviceKey]*service
	refTime  uint64           // of the latest list of instances, in milliseconds
	conns    map[string]*conn // that were set up, by id
	tokens   map[string]time.Time
}

// serving is what runs between a start and a kill.
type serving struct {
	http    *http.Server
	grpc    *grpc.Server
	sockets *sockets
	done    chan struct{}
	wg      sync.WaitGroup
}

// Start runs a server on a free pair of loopback ports.
func Start(o *Options) (*Server, error) {
	s := &Server{opts: o.withDefaults(), requests: map[string]int{}, configs: map[configKey]*config{}}
	s.faults = s.opts.Faults
	var err error
	for range 100 {
		s.port = 12000 + rand.IntN(18000) // below what systems give to outgoing connections
		if err = s.start(); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("nacostest: no pair of free ports: %w", err)
}

func (s *Server) start() error {
	web, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)))
	if err != nil {
		return err
	}
	rpc, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port+portOffset)))
	if err != nil {
		return errors.Join(err, web.Close())
	}
	s.mu.Lock()
	s.conns, s.services, s.tokens = map[string]*conn{}, map[serviceKey]*service{}, map[string]time.Time{}
	s.mu.Unlock()
	r := &serving{
		http:    &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second},
		grpc:    grpc.NewServer(grpc.MaxRecvMsgSize(s.opts.MaxMessage)),
		sockets: &sockets{Listener: rpc, open: map[net.Conn]struct{}{}},
		done:    make(chan struct{}),
	}
	pb.RegisterRequestServer(r.grpc, s)
	pb.RegisterBiRequestStreamServer(r.grpc, s)
	r.wg.Go(func() { _ = r.http.Serve(web) })
	r.wg.Go(func() { _ = r.grpc.Serve(r.sockets) })
	r.wg.Go(func() { s.expire(r.done) })
	s.serving = r
	return nil
}

// Addr is the HTTP address, which is the one clients are told; gRPC is 1000 ports above.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// GRPCAddr is the address of gRPC.
func (s *Server) GRPCAddr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port+portOffset))
}

// Kill takes the server down, with its connections; the documents stay for Restart.
func (s *Server) Kill() {
	s.running.Lock()
	defer s.running.Unlock()
	s.kill()
}

func (s *Server) kill() {
	r := s.serving
	if r == nil {
		return
	}
	s.serving = nil
	close(r.done)
	_ = r.http.Close()
	r.grpc.Stop()
	r.wg.Wait()
}

// Restart takes the server down, if it is up, and up again on the same ports, with its documents and without the instances.
func (s *Server) Restart() error {
	s.running.Lock()
	defer s.running.Unlock()
	s.kill()
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = s.start(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("nacostest: restart: %w", err)
}

// Stop ends the server. It may be called again.
func (s *Server) Stop() { s.Kill() }

// DropConnections resets all connections of clients; new ones are accepted.
func (s *Server) DropConnections() {
	s.running.Lock()
	defer s.running.Unlock()
	if s.serving != nil {
		s.serving.sockets.reset()
	}
}

// Set changes the faults.
func (s *Server) Set(change func(*Faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.faults)
}

// Requests counts the requests received so far by type, as "ConfigQueryRequest"; pushes are counted as "ConfigChangeNotifyRequest" and
// "NotifySubscriberRequest", HTTP requests as "HTTP" and their path.
func (s *Server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.requests)
}

func (s *Server) count(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[kind]++
}

// sockets remembers the accepted connections, to reset them.
type sockets struct {
	net.Listener
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// Accept implements net.Listener.
func (l *sockets) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &socket{Conn: c, of: l}
	l.open[s] = struct{}{}
	return s, nil
}

func (l *sockets) reset() {
	l.mu.Lock()
	open := maps.Clone(l.open)
	l.mu.Unlock()
	for c := range open {
		_ = c.Close()
	}
}

type socket struct {
	net.Conn
	of *sockets
}

// Close implements net.Conn.
func (s *socket) Close() error {
	s.of.mu.Lock()
	delete(s.of.open, s)
	s.of.mu.Unlock()
	return s.Conn.Close()
}
