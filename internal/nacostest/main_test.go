package nacostest

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/nacos-group/nacos-sdk-go/v2/api/grpc"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o *Options) *Server {
	t.Helper()
	s, err := Start(o)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

// client is as little of a client as there can be.
type client struct {
	t       *testing.T
	conn    *grpc.ClientConn
	notices chan *pb.Payload // closed with the connection
	token   string
}

// dial connects; module "" sets nothing up.
func dial(t *testing.T, s *Server, module string) *client {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.GRPCAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	c := &client{t: t, conn: conn, notices: make(chan *pb.Payload, 100)}
	t.Cleanup(func() { _ = conn.Close() })
	if module == "" {
		close(c.notices)
		return c
	}
	stream, err := pb.NewBiRequestStreamClient(conn).RequestBiStream(t.Context())
	require.NoError(t, err)
	setup := rpc_request.NewConnectionSetupRequest()
	setup.Labels = map[string]string{"module": module}
	body, err := json.Marshal(setup)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&pb.Payload{Metadata: &pb.Metadata{Type: setup.GetRequestType()}, Body: &anypb.Any{Value: body}}))
	go func() {
		defer close(c.notices)
		for {
			p, err := stream.Recv()
			if err != nil {
				return
			}
			c.notices <- p
		}
	}()
	require.Eventually(t, func() bool { return c.ask(rpc_request.NewHealthCheckRequest(), nil).Success }, 10*time.Second, time.Millisecond)
	return c
}

// ask sends a request and returns what every answer has; into gets the rest.
func (c *client) ask(req rpc_request.IRequest, into any) rpc_response.Response {
	c.t.Helper()
	body, err := json.Marshal(req)
	require.NoError(c.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := pb.NewRequestClient(c.conn).Request(ctx, &pb.Payload{
		Metadata: &pb.Metadata{Type: req.GetRequestType(), Headers: map[string]string{"accessToken": c.token}}, Body: &anypb.Any{Value: body}})
	require.NoError(c.t, err)
	var r rpc_response.Response
	require.NoError(c.t, json.Unmarshal(p.GetBody().GetValue(), &r))
	if into != nil {
		require.NoError(c.t, json.Unmarshal(p.GetBody().GetValue(), into))
	}
	return r
}

func (c *client) publish(content, casMd5 string) rpc_response.Response {
	return c.ask(rpc_request.NewConfigPublishRequest("g", "d", "", content, casMd5), nil)
}

// query returns the content, or "" for a document that is said not to exist.
func (c *client) query() string {
	c.t.Helper()
	var answer rpc_response.ConfigQueryResponse
	if r := c.ask(rpc_request.NewConfigQueryRequest("g", "d", ""), &answer); !r.Success {
		require.Equal(c.t, codeNotFound, r.ErrorCode)
		return ""
	}
	require.Equal(c.t, md5Hex(answer.Content), answer.Md5)
	return answer.Content
}

// listen begins to listen, and says whether the document differs from the content.
func (c *client) listen(have string) bool {
	c.t.Helper()
	req := rpc_request.NewConfigBatchListenRequest(1)
	md5 := ""
	if have != "" {
		md5 = md5Hex(have)
	}
	req.ConfigListenContexts = []model.ConfigListenContext{{Group: "g", DataId: "d", Md5: md5}}
	var answer rpc_response.ConfigChangeBatchListenResponse
	require.True(c.t, c.ask(req, &answer).Success)
	return len(answer.ChangedConfigs) == 1
}

func (c *client) notice(kind string) []byte {
	c.t.Helper()
	select {
	case p, ok := <-c.notices:
		require.True(c.t, ok, "the connection ended")
		require.Equal(c.t, kind, p.GetMetadata().GetType())
		return p.GetBody().GetValue()
	case <-time.After(time.Minute):
		require.Fail(c.t, "no notice")
		return nil
	}
}

// ended waits for the end of the connection and returns how many notices came before.
func (c *client) ended() int {
	c.t.Helper()
	for n := 0; ; n++ {
		select {
		case _, ok := <-c.notices:
			if !ok {
				return n
			}
		case <-time.After(time.Minute):
			require.Fail(c.t, "the connection did not end")
		}
	}
}
