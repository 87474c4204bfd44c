package nacostest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	pb "github.com/nacos-group/nacos-sdk-go/v2/api/grpc"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
)

// codes of answers.
const (
	codeOK           = 200
	codeFail         = 500
	codeInvalid      = 400
	codeNotFound     = 300 // a document that does not exist
	codeStarting     = 300 // in a general answer
	codeBusy         = 400 // a document that is being written
	codeUnregistered = 301
	codeNoHandler    = 302
	codeForbidden    = 403
	codeNoNamespace  = 22001
)

func ok() *rpc_response.Response { return &rpc_response.Response{ResultCode: codeOK, Success: true} }

func failed(code int, message string) *rpc_response.Response {
	return &rpc_response.Response{ResultCode: codeFail, ErrorCode: code, Message: message}
}

// call is one request being answered.
type call struct {
	*Server
	faults Faults
	conn   *conn
	kind   string
	body   []byte
	token  string
}

// handlers by request type. A handler gets either the failure that was found before it, to put into its own type of answer, or nil.
var handlers = map[string]func(c *call, refused *rpc_response.Response) rpc_response.IResponse{
	"HealthCheckRequest": func(_ *call, _ *rpc_response.Response) rpc_response.IResponse {
		return &rpc_response.HealthCheckResponse{Response: ok()}
	},
	"ConfigPublishRequest":     (*call).publish,
	"ConfigQueryRequest":       (*call).query,
	"ConfigRemoveRequest":      (*call).remove,
	"ConfigBatchListenRequest": (*call).listen,
	"InstanceRequest":          (*call).instance,
	"SubscribeServiceRequest":  (*call).subscribe,
	"ServiceQueryRequest":      (*call).queryService,
}

// writes are the requests that need the right to write.
var writes = map[string]bool{"ConfigPublishRequest": true, "ConfigRemoveRequest": true, "InstanceRequest": true}

// Request answers one unary request.
func (s *Server) Request(ctx context.Context, p *pb.Payload) (*pb.Payload, error) {
	kind, id := p.GetMetadata().GetType(), connectionID(ctx)
	s.mu.Lock()
	s.requests[kind]++
	faults, conn := s.faults, s.conns[id]
	s.mu.Unlock()
	if faults.Latency > 0 {
		select {
		case <-time.After(faults.Latency):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.touch(id)
	var response rpc_response.IResponse
	handle := handlers[kind]
	switch {
	case faults.Starting:
		response = &rpc_response.ErrorResponse{Response: failed(codeStarting, "Server is starting,please try later.")}
	case kind == "ServerCheckRequest":
		response = &rpc_response.ServerCheckResponse{Response: ok(), ConnectionId: id}
	case handle == nil || faults.NoNaming && isNaming(kind):
		response = &rpc_response.ErrorResponse{Response: failed(codeNoHandler, "RequestHandler Not Found")}
	case conn == nil:
		response = &rpc_response.ErrorResponse{Response: failed(codeUnregistered, "Connection is unregistered.")}
	default:
		c := &call{Server: s, faults: faults, conn: conn, kind: kind, body: p.GetBody().GetValue(), token: p.GetMetadata().GetHeaders()["accessToken"]}
		response = handle(c, c.refused())
	}
	if faults.LostAnswers {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return payload(response.GetResponseType(), response), nil
}

func isNaming(kind string) bool {
	return slices.Contains([]string{"InstanceRequest", "SubscribeServiceRequest", "ServiceQueryRequest"}, kind)
}

// refused looks at what all requests have in common: who asks, and about which namespace.
func (c *call) refused() *rpc_response.Response {
	if c.opts.User != "" && c.kind != "HealthCheckRequest" {
		if !c.knows(c.token) {
			return failed(codeForbidden, "user not found!")
		}
		if c.opts.ReadOnly && writes[c.kind] {
			return failed(codeForbidden, "authorization failed!")
		}
	}
	if c.opts.Namespaces == nil {
		return nil
	}
	for _, ns := range c.namespaces() {
		if ns != "" && ns != "public" && !slices.Contains(c.opts.Namespaces, ns) {
			return failed(codeNoNamespace, fmt.Sprintf("Namespace '%s' does not exist. Please create the namespace first.", ns))
		}
	}
	return nil
}

// namespaces are those a request is about.
func (c *call) namespaces() []string {
	var req struct {
		Tenant, Namespace    string
		ConfigListenContexts []struct{ Tenant string }
	}
	_ = json.Unmarshal(c.body, &req)
	all := []string{req.Tenant, req.Namespace}
	for _, l := range req.ConfigListenContexts {
		all = append(all, l.Tenant)
	}
	return all
}

// decode parses the request's body, or says what is wrong with it.
func decode[T rpc_request.IRequest](c *call, into T) (T, *rpc_response.Response) {
	if err := json.Unmarshal(c.body, into); err != nil {
		return into, failed(codeInvalid, err.Error())
	}
	return into, nil
}
