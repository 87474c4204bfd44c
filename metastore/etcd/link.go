package etcd

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

var errInterrupted = errors.New("the connection was lost")

// link notices when the client loses its server. The client resumes its streams by itself and tells nobody; but what it resumes may be
// another history of the server, and whoever relied on the connection has to look again.
type link struct {
	conn *grpc.ClientConn

	mu    sync.Mutex
	epoch context.Context // ends with the next interruption
	end   context.CancelCauseFunc
}

func newLink(conn *grpc.ClientConn) *link {
	l := &link{conn: conn}
	l.epoch, l.end = context.WithCancelCause(context.Background())
	return l
}

// run follows the connection's state until ctx ends.
func (l *link) run(ctx context.Context) {
	for {
		state := l.conn.GetState()
		if state == connectivity.Shutdown || !l.conn.WaitForStateChange(ctx, state) {
			return
		}
		if state == connectivity.Ready {
			l.mu.Lock()
			l.end(errInterrupted)
			l.epoch, l.end = context.WithCancelCause(context.Background())
			l.mu.Unlock()
		}
	}
}

// interrupted is closed by the next interruption.
func (l *link) interrupted() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch.Done()
}

// bind returns a context that also ends with the next interruption, whose cause is errInterrupted then.
func (l *link) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	epoch := l.epoch
	l.mu.Unlock()
	bound, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(epoch, func() { cancel(context.Cause(epoch)) })
	return bound, func() { stop(); cancel(nil) }
}

// ready waits for a connection to some server.
func (l *link) ready(ctx context.Context) error {
	for {
		switch state := l.conn.GetState(); state {
		case connectivity.Ready:
			return nil
		case connectivity.Shutdown:
			return errInterrupted
		case connectivity.Idle:
			l.conn.Connect()
			fallthrough
		default:
			if !l.conn.WaitForStateChange(ctx, state) {
				return ctx.Err()
			}
		}
	}
}

// up reports whether there is a connection at this moment.
func (l *link) up() bool { return l.conn.GetState() == connectivity.Ready }
