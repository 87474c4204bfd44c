package etcd

import (
	"context"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/go-msha/msha"
)

const (
	// pingAfter of silence asks a connection for a sign of life; gRPC allows no less than 10 s, etcd refuses less than 5 s.
	pingAfter = 10 * time.Second
	// pingTimeout without an answer gives the connection up. A lost network shows earlier, by what was sent and not acknowledged.
	pingTimeout = 3 * time.Second
	// connectTimeout bounds one attempt, also against a server that accepts connections and says nothing.
	connectTimeout = 3 * time.Second
	// readAttempts while there is no connection; writes have one.
	readAttempts = 10
)

// Open connects to a cluster and reads from it once, so that a wrong address, password or certificate shows here. Endpoints are
// addresses of one cluster's members. It blocks until that is done, Options.DialTimeout has passed or ctx has ended.
func Open(ctx context.Context, endpoints []string, options *Options) (*Store, error) {
	o := options.withDefaults()
	if err := o.validate(endpoints); err != nil {
		return nil, err
	}
	addr := strings.Join(endpoints, ",")
	within, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	var user *login
	if o.User != "" {
		user = newLogin(o.User, o.Password)
	}
	client, err := clientv3.New(config(endpoints, o, user))
	if err != nil {
		return nil, openError(ctx, within, addr, o, err)
	}
	s := newStore(client, o, user)
	s.own = true
	if _, err = s.read(within, s.keys.all(), clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly()); err != nil {
		s.Close() //nolint:errcheck // it has no error
		return nil, openError(ctx, within, addr, o, err)
	}
	return s, nil
}

// openError tells the end of the caller's context from that of the own time limit.
func openError(ctx, within context.Context, addr string, o Options, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if within.Err() != nil {
		return msha.Errorf("metastore.open", addr, "check the address and that etcd runs", "etcd %s: no answer within %s", addr, o.DialTimeout)
	}
	return explain("metastore.open", addr, addr, layout{o.Prefix}.all(), err)
}

func config(endpoints []string, o Options, user *login) clientv3.Config {
	c := clientv3.Config{
		Endpoints: endpoints, DialTimeout: o.DialTimeout, TLS: o.TLS,
		// Pings without a request in progress are no option: etcd takes them for an attack and closes the connection.
		DialKeepAliveTime: pingAfter, DialKeepAliveTimeout: pingTimeout,
		MaxUnaryRetries: readAttempts, BackoffWaitBetween: 50 * time.Millisecond,
		MaxCallSendMsgSize: max(2<<20, o.MaxValue+64<<10),
		Logger:             zap.NewNop(), // what matters comes back as an error or by the store's own log
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.3, MaxDelay: 3 * time.Second},
				MinConnectTimeout: connectTimeout,
			}),
			grpc.WithChainUnaryInterceptor(failFast),
		},
	}
	if user != nil {
		c.DialOptions = append(c.DialOptions, user.options()...)
	}
	return c
}

// failFast lets a request fail with the reason while no server can be reached, instead of waiting for one until its context ends.
func failFast(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, conn, append(opts, grpc.WaitForReady(false))...)
}

// New uses a client of the caller's, who closes it after the store. It does not connect, and authenticates as the client does. The client should have DialKeepAliveTime and
// DialKeepAliveTimeout set, or a connection that died silently goes unnoticed. Of the options those about connecting mean nothing.
func New(client *clientv3.Client, options *Options) (*Store, error) {
	o := options.withDefaults()
	if client == nil || client.ActiveConnection() == nil {
		return nil, msha.Errorf("metastore.open", "etcd", "make it with clientv3.New", "%w: the client has no connection", msha.ErrInvalid)
	}
	return newStore(client, o, nil), nil
}
