package nacos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pb "github.com/nacos-group/nacos-sdk-go/v2/api/grpc"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// maxMessage is the largest answer accepted: documents arrive as JSON text.
const maxMessage = 64 << 20

// checkTimeout is how long a sign of life may take.
const checkTimeout = 3 * time.Second

var errSilent = errors.New("the server does not answer")

// session is one connection that Nacos knows: requests, and a stream of notices, of one transport. It ends once and is not repaired.
type session struct {
	to     server
	conn   *grpc.ClientConn
	stream pb.BiRequestStream_RequestBiStreamClient
	ip     atomic.Pointer[string] // our end of the connection
	notice func(kind string, body []byte)

	ctx     context.Context // ends with the session; its cause says why
	end     context.CancelCauseFunc
	wg      sync.WaitGroup
	sending sync.Mutex // one sender of the stream at a time
	heard   atomic.Int64
}

// connect makes a connection and has Nacos know it. The parent ends it; ctx bounds the attempt only.
func connect(ctx, parent context.Context, to server, module string, o Options, headers map[string]string, notice func(kind string, body []byte)) (*session, error) {
	s := &session{to: to, notice: notice}
	s.ctx, s.end = context.WithCancelCause(parent)
	dialer := net.Dialer{}
	transport := grpc.WithTransportCredentials(insecure.NewCredentials())
	if o.TLS != nil {
		transport = grpc.WithTransportCredentials(credentials.NewTLS(o.TLS))
	}
	var err error
	s.conn, err = grpc.NewClient("passthrough:///"+to.grpc, transport, grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, "tcp", addr)
			if err == nil {
				ip, _, _ := net.SplitHostPort(c.LocalAddr().String())
				s.ip.Store(&ip)
			}
			return c, err
		}))
	if err != nil {
		return nil, err
	}
	if err := s.setUp(ctx, module, o.configNamespace(), headers); err != nil {
		s.close(err)
		return nil, err
	}
	s.wg.Go(func() { s.test(o.KeepAlive) })
	return s, nil
}

func (s *session) setUp(ctx context.Context, module, namespace string, headers map[string]string) error {
	if err := s.request(ctx, rpc_request.NewServerCheckRequest(), &rpc_response.ServerCheckResponse{Response: blank()}, headers); err != nil {
		return err
	}
	var err error
	if s.stream, err = pb.NewBiRequestStreamClient(s.conn).RequestBiStream(s.ctx); err != nil {
		return err
	}
	setup := rpc_request.NewConnectionSetupRequest()
	setup.ClientVersion, setup.Tenant = constant.CLIENT_VERSION, namespace
	setup.Labels = map[string]string{constant.LABEL_SOURCE: constant.LABEL_SOURCE_SDK, constant.LABEL_MODULE: module, "AppName": "msha"}
	p, err := encodeRequest(setup, s.localIP(), headers)
	if err != nil {
		return err
	}
	if err := s.send(p); err != nil {
		return err
	}
	s.wg.Go(s.receive)
	for { // the server answers a setup with nothing: it knows us once it takes requests
		err := s.request(ctx, rpc_request.NewHealthCheckRequest(), &rpc_response.HealthCheckResponse{Response: blank()}, headers)
		if codeOf(err) != codeUnregistered {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *session) localIP() string {
	if ip := s.ip.Load(); ip != nil {
		return *ip
	}
	return ""
}

// request sends one request and waits for its answer, which says no by a *refusal.
func (s *session) request(ctx context.Context, req rpc_request.IRequest, into rpc_response.IResponse, headers map[string]string) error {
	p, err := encodeRequest(req, s.localIP(), headers)
	if err != nil {
		return err
	}
	answer, err := pb.NewRequestClient(s.conn).Request(ctx, p)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	s.heard.Store(time.Now().UnixNano())
	return decodeResponse(answer, into)
}

func (s *session) send(p *pb.Payload) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.stream.Send(p)
}

// receive takes what the server sends by itself, until the stream ends, and the session with it.
func (s *session) receive() {
	for {
		p, err := s.stream.Recv()
		if err != nil {
			s.end(fmt.Errorf("connection lost: %w", err))
			return
		}
		s.heard.Store(time.Now().UnixNano())
		kind, body := p.GetMetadata().GetType(), p.GetBody().GetValue()
		s.notice(kind, body)
		if err := s.send(acknowledge(kind, s.localIP(), body)); err != nil {
			s.end(fmt.Errorf("connection lost: %w", err))
			return
		}
		if kind == "ConnectResetRequest" { // a node that shuts down, or has too many clients
			s.end(errors.New("the server asked to connect again"))
			return
		}
	}
}

// test ends the session when the server is silent: a cut network does not say so.
func (s *session) test(every time.Duration) {
	for {
		select {
		case <-time.After(every):
		case <-s.ctx.Done():
			return
		}
		before := s.heard.Load()
		if time.Since(time.Unix(0, before)) < every/2 {
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, checkTimeout)
		err := s.request(ctx, rpc_request.NewHealthCheckRequest(), &rpc_response.HealthCheckResponse{Response: blank()}, nil)
		cancel()
		switch {
		case codeOf(err) == codeUnregistered: // no notices any more, no members
			s.end(err)
			return
		case err != nil && !isStarting(err) && s.heard.Load() == before:
			s.end(fmt.Errorf("%w: %w", errSilent, err))
			return
		}
	}
}

// close ends the session and waits for its goroutines.
func (s *session) close(why error) {
	s.end(why)
	_ = s.conn.Close() // it only says that it was closed before
	s.wg.Wait()
}
