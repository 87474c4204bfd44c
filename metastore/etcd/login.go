package etcd

import (
	"context"
	"errors"
	"strconv"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

const authenticate = "/etcdserverpb.Auth/Authenticate"

// login gets tokens for a user and puts them on requests. The client's own does not recover on etcd 3.4 once the server has forgotten a
// token: it asks for a new one with the forgotten one, is refused for that, and asks again without a pause.
type login struct {
	user, password string
	asking         chan struct{} // holds a value while a token is asked for

	mu    sync.Mutex
	asked uint64 // times a token was got
	token string // the last; empty if the server asks for none
}

func newLogin(user, password string) *login {
	return &login{user: user, password: password, asking: make(chan struct{}, 1)}
}

func (l *login) options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithPerRPCCredentials(l), grpc.WithChainUnaryInterceptor(l.unary), grpc.WithChainStreamInterceptor(l.stream),
	}
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (l *login) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if info, ok := credentials.RequestInfoFromContext(ctx); ok && info.Method == authenticate {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token == "" {
		return nil, nil
	}
	return map[string]string{rpctypes.TokenFieldNameGRPC: l.token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: whether to use TLS is the user's choice.
func (l *login) RequireTransportSecurity() bool { return false }

// unary asks for a token before the first request, and for another one when the server does not take it any more; it refused the
// request then, so it is safe to repeat.
func (l *login) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if method == authenticate {
		return invoke(ctx, method, req, reply, conn, opts...)
	}
	used, err := l.need(ctx, conn, 0)
	if err != nil {
		return err
	}
	err = invoke(ctx, method, req, reply, conn, opts...)
	if !stale(err) {
		return err
	}
	if _, err := l.need(ctx, conn, used); err != nil {
		return err
	}
	return invoke(ctx, method, req, reply, conn, opts...)
}

func (l *login) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if _, err := l.need(ctx, conn, 0); err != nil {
		return nil, err
	}
	return open(ctx, desc, conn, method, opts...)
}

func stale(err error) bool {
	err = rpctypes.Error(err)
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision) || errors.Is(err, rpctypes.ErrUserEmpty)
}

// need returns the number of the present token, after asking for one if there is none newer than the one that was used.
func (l *login) need(ctx context.Context, conn *grpc.ClientConn, used uint64) (uint64, error) {
	if n := l.number(); n > used {
		return n, nil
	}
	select {
	case l.asking <- struct{}{}:
		defer func() { <-l.asking }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if n := l.number(); n > used {
		return n, nil
	}
	token := ""
	resp, err := pb.NewAuthClient(conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: l.user, Password: l.password})
	if err == nil {
		token = resp.Token
	} else if !errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled) {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token = token
	l.asked++
	return l.asked, nil
}

func (l *login) number() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// separate gives watches begun with another token a stream of their own: a stream has the token it began with.
func (l *login) separate(ctx context.Context) context.Context {
	if l == nil {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "msha-token", strconv.FormatUint(l.number(), 10))
}
