package nacostest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	pb "github.com/nacos-group/nacos-sdk-go/v2/api/grpc"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// conn is a client's connection that was set up: requests and pushes of one transport. The server's mutex guards its fields.
type conn struct {
	id     string
	module string // of the client that set it up: only "naming" has instances
	out    chan *pb.Payload
	end    context.CancelCauseFunc
	active time.Time
	asked  time.Time // for a sign of life, since active; zero: not yet
}

var (
	errSilent = errors.New("client was silent for too long")
	errBusy   = errors.New("client does not read its pushes")
)

// connectionID names the transport a call came by.
func connectionID(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	return p.Addr.String()
}

// payload encodes a message as the real server does: its type in the metadata, its fields as JSON.
func payload(kind string, message any) *pb.Payload {
	body, err := json.Marshal(message)
	if err != nil {
		panic(err) // our own types
	}
	return &pb.Payload{Metadata: &pb.Metadata{Type: kind, ClientIp: "127.0.0.1"}, Body: &anypb.Any{Value: body}}
}

// RequestBiStream serves the stream that sets up a connection, takes its pushes and ends with it.
func (s *Server) RequestBiStream(stream pb.BiRequestStream_RequestBiStreamServer) error {
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	id := connectionID(ctx)
	received := make(chan *pb.Payload)
	go func() { // ends with the stream
		for {
			p, err := stream.Recv()
			if err != nil {
				end(err)
				return
			}
			select {
			case received <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	c := &conn{id: id, out: make(chan *pb.Payload, 1024), end: end, active: time.Now()}
	defer s.forget(c)
	for {
		select {
		case p := <-received:
			if p.GetMetadata().GetType() == "ConnectionSetupRequest" {
				s.setUp(c, p)
			}
			s.touch(id)
		case p := <-c.out:
			if err := stream.Send(p); err != nil {
				return err
			}
		case <-ctx.Done():
			return status.Error(codes.Unavailable, context.Cause(ctx).Error())
		}
	}
}

func (s *Server) setUp(c *conn, p *pb.Payload) {
	s.count("ConnectionSetupRequest")
	var req rpc_request.ConnectionSetupRequest
	if json.Unmarshal(p.GetBody().GetValue(), &req) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.module = req.Labels["module"]
	s.conns[c.id] = c
}

// forget removes a connection that ended, with what it had registered.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[c.id] != c {
		return
	}
	delete(s.conns, c.id)
	for _, doc := range s.configs {
		delete(doc.listeners, c.id)
	}
	for key, svc := range s.services {
		delete(svc.subscribers, c.id)
		if _, had := svc.instances[c.id]; had {
			delete(svc.instances, c.id)
			s.pushService(key, svc)
		}
	}
}

// ForgetConnections forgets the clients' connections, with what they had registered, and leaves them open, as a proxy before the server can.
func (s *Server) ForgetConnections() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.conns))
	s.mu.Unlock()
	for _, c := range all {
		s.forget(c)
	}
}

func (s *Server) touch(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.conns[id]; c != nil {
		c.active, c.asked = time.Now(), time.Time{}
	}
}

// push queues a message for a client; one that does not read is dropped. The mutex is held.
func (s *Server) push(c *conn, kind string, message any) {
	if c == nil {
		return // of a server that was restarted meanwhile
	}
	s.requests[kind]++
	select {
	case c.out <- payload(kind, message):
	default:
		c.end(errBusy)
	}
}

// expire asks silent clients for a sign of life and drops those that give none.
func (s *Server) expire(done <-chan struct{}) {
	every := time.NewTicker(s.opts.KeepAlive / 8)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-done:
			return
		}
		s.mu.Lock()
		for _, c := range s.conns {
			switch {
			case c.asked.IsZero() && time.Since(c.active) > s.opts.KeepAlive:
				c.asked = time.Now()
				s.push(c, "ClientDetectionRequest", &rpc_request.ClientDetectionRequest{InternalRequest: rpc_request.NewInternalRequest()})
			case !c.asked.IsZero() && time.Since(c.asked) > s.opts.KeepAlive/4:
				c.end(errSilent)
			}
		}
		s.mu.Unlock()
	}
}
