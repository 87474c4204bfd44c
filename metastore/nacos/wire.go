package nacos

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/nacos-group/nacos-sdk-go/v2/api/grpc"

	"github.com/go-msha/msha"
)

// error codes of answers that are acted upon.
const (
	codeSuccess      = 200
	codeNotFound     = 300 // a document
	codeUnregistered = 301 // the server has forgotten the connection
	codeStarting     = 300 // in a general answer
	codeBusy         = 400 // the document is just being written
	codeForbidden    = 403
	codeInvalid      = 400
)

// refusedSwap is in the answer to a publish whose md5 is not that of the current content; versions differ in its punctuation.
const refusedSwap = "md5 may have changed"

// refusal is an answer of the server that says no: the request was not carried out, except that a write may still be after a failure (500), as
// one of the storage's timeouts.
type refusal struct {
	code    int
	message string
	general bool // the request did not get to its handler
}

// Error implements error.
func (r *refusal) Error() string { return fmt.Sprintf("the server answered %d: %s", r.code, r.message) }

// Is classifies what users act upon.
func (r *refusal) Is(target error) bool {
	return target == msha.ErrTooLarge && (strings.Contains(r.message, "invalid content, over") || strings.Contains(r.message, "should not exceed"))
}

func codeOf(err error) int {
	var r *refusal
	if errors.As(err, &r) {
		return r.code
	}
	return 0
}

// isMissing says that a document does not exist; the same code in a general answer says something else.
func isMissing(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.code == codeNotFound && !r.general
}

// isStarting says that the server will take requests soon.
func isStarting(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.general && r.code == codeStarting
}

func isRefusedSwap(err error) bool {
	var r *refusal
	return errors.As(err, &r) && strings.Contains(r.message, refusedSwap)
}

// hint says what an operator can do about an error.
func hint(err error) string {
	var r *refusal
	switch {
	case errors.Is(err, msha.ErrTooLarge):
		return "use ranges or slots"
	case errors.Is(err, msha.ErrInvalid):
		return "restore it from its history in the Nacos console"
	case errors.Is(err, msha.ErrConflict):
		return "read it again"
	case !errors.As(err, &r):
		return ""
	case r.code == codeForbidden:
		return "check user, password and their permissions for the namespace"
	case strings.Contains(strings.ToLower(r.message), "namespace"):
		return "create the namespace in Nacos, and give its id, not its name"
	}
	return ""
}

// encodeRequest wraps a request for the wire.
func encodeRequest(req rpc_request.IRequest, ip string, headers map[string]string) (*pb.Payload, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	return &pb.Payload{Metadata: &pb.Metadata{Type: req.GetRequestType(), Headers: headers, ClientIp: ip}, Body: &anypb.Any{Value: body}}, nil
}

// blank is what an answer is made with: one that leaves its common part out says no.
func blank() *rpc_response.Response { return &rpc_response.Response{} }

// decodeResponse parses an answer; one that says no is a *refusal.
func decodeResponse(p *pb.Payload, into rpc_response.IResponse) error {
	kind, body := p.GetMetadata().GetType(), p.GetBody().GetValue()
	if kind == into.GetResponseType() {
		if err := json.Unmarshal(body, into); err != nil {
			return fmt.Errorf("undecodable answer %s: %w", kind, err)
		}
		if into.IsSuccess() || into.GetResultCode() == codeSuccess && into.GetErrorCode() == 0 { // some leave success out
			return nil
		}
		return refusalOf(into, false)
	}
	general := &rpc_response.ErrorResponse{Response: blank()}
	if err := json.Unmarshal(body, general); err != nil || kind != general.GetResponseType() {
		return fmt.Errorf("the server answered with %s instead of %s", kind, into.GetResponseType())
	}
	return refusalOf(general, true)
}

func refusalOf(r rpc_response.IResponse, general bool) *refusal {
	code := r.GetErrorCode()
	if code == 0 {
		code = r.GetResultCode()
	}
	return &refusal{code: code, message: r.GetMessage(), general: general}
}

// noticeName is what a notice of the server's is about, as listeners call it; "" for all others.
func noticeName(kind string, body []byte) string {
	var n struct {
		DataID      string `json:"dataId"`
		ServiceInfo struct{ Name string }
	}
	if json.Unmarshal(body, &n) != nil {
		return ""
	}
	switch kind {
	case constant.CONFIG_CHANGE_NOTIFY_REQUEST_NAME:
		return n.DataID
	case constant.NOTIFY_SUBSCRIBE_REQUEST_NAME: // some versions put the group before the name
		_, name, grouped := strings.Cut(n.ServiceInfo.Name, "@@")
		if grouped {
			return name
		}
		return n.ServiceInfo.Name
	}
	return ""
}

// acknowledge makes the answer to a request of the server's.
func acknowledge(kind, ip string, body []byte) *pb.Payload {
	var req struct {
		RequestID string `json:"requestId"`
	}
	_ = json.Unmarshal(body, &req) // an answer without it is ignored
	answer, err := json.Marshal(rpc_response.Response{ResultCode: 200, Success: true, RequestId: req.RequestID})
	if err != nil {
		panic(err) // numbers and a string that was JSON before
	}
	return &pb.Payload{
		Metadata: &pb.Metadata{Type: strings.TrimSuffix(kind, "Request") + "Response", ClientIp: ip},
		Body:     &anypb.Any{Value: answer},
	}
}
