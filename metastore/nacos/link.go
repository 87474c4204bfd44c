package nacos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

// the two kinds of connection: Nacos gives instances to those of the second only.
const (
	moduleConfig = "config"
	moduleNaming = "naming"
)

// startingPause is between two requests to a server that is starting.
const startingPause = 200 * time.Millisecond

// link keeps one connection to Nacos: it makes a new one, to the next node, when the present one ends. Methods are safe for concurrent
// use.
type link struct {
	servers []server
	module  string
	opts    Options
	login   *login

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	current   *session
	changed   chan struct{} // closed when current or lastErr changes
	lastErr   error         // why there is no session
	failures  int           // attempts to connect that failed, other than because the server was starting
	listeners map[string]map[*func()]struct{}
}

func newLink(servers []server, module string, o Options, l *login) *link {
	k := &link{servers: servers, module: module, opts: o, login: l, changed: make(chan struct{}), listeners: map[string]map[*func()]struct{}{}}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.wg.Go(k.run)
	return k
}

// run connects, and again after each end of a connection.
func (k *link) run() {
	backoff := follow.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for next := 0; k.ctx.Err() == nil; next++ {
		began := time.Now()
		s, err := k.connect(k.servers[next%len(k.servers)])
		if err == nil {
			k.set(s, nil)
			<-s.ctx.Done()
			err = context.Cause(s.ctx)
			k.set(nil, err)
			s.close(err)
		} else {
			k.set(nil, err)
		}
		if time.Since(began) > backoff.Max {
			backoff.Reset()
		}
		if backoff.Wait(k.ctx) != nil {
			return
		}
	}
}

func (k *link) connect(to server) (*session, error) {
	ctx, cancel := context.WithTimeout(k.ctx, k.opts.DialTimeout)
	defer cancel()
	headers, err := k.login.headers(ctx, to)
	var s *session
	if err == nil {
		if s, err = connect(ctx, k.ctx, to, k.module, k.opts, headers, k.notice); err != nil {
			err = fmt.Errorf("gRPC at %s: %w", to.grpc, err)
		}
	}
	if errors.Is(err, context.DeadlineExceeded) { // ours: for the callers it would be the end of their context
		err = fmt.Errorf("no answer within %s: %v", k.opts.DialTimeout, err)
	}
	return s, err
}

func (k *link) set(s *session, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current, k.lastErr = s, err
	if err != nil && !isStarting(err) {
		k.failures++
	}
	close(k.changed)
	k.changed = make(chan struct{})
}

// session returns the present session other than the given one, waiting for it; ctx's end comes with the reason why there is none.
func (k *link) session(ctx context.Context, not *session) (*session, error) {
	for {
		k.mu.Lock()
		s, changed, lastErr := k.current, k.changed, k.lastErr
		k.mu.Unlock()
		if s != nil && s != not && s.ctx.Err() == nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-k.ctx.Done():
			return nil, msha.ErrClosed
		case <-ctx.Done():
			return nil, &notConnected{why: lastErr}
		}
	}
}

// notConnected says why there is no session.
type notConnected struct{ why error }

// Error implements error.
func (e *notConnected) Error() string {
	if e.why == nil {
		return "not connected yet"
	}
	return "not connected: " + e.why.Error()
}

// Unwrap returns why the last attempt failed.
func (e *notConnected) Unwrap() error { return e.why }

// ready waits for the first session, until each node failed once; a node that is starting does not count.
func (k *link) ready(ctx context.Context) error {
	for {
		k.mu.Lock()
		s, changed, failures, lastErr := k.current, k.changed, k.failures, k.lastErr
		k.mu.Unlock()
		if s != nil {
			return nil
		}
		if failures >= len(k.servers) {
			return &notConnected{why: lastErr}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &notConnected{why: lastErr}
		}
	}
}

// call sends a request and waits for the answer, which says no by a *refusal; ctx's own error is returned unwrapped. A request that may
// be repeated is, on the next session, when a session ends under it. One that may not fails then: whether it was carried out is unknown.
func (k *link) call(ctx context.Context, req rpc_request.IRequest, into rpc_response.IResponse, repeat bool) error {
	err := k.attempts(ctx, req, into, repeat)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case k.ctx.Err() != nil:
		return msha.ErrClosed
	case errors.As(err, new(*notConnected)):
		return err
	case errors.Is(err, context.DeadlineExceeded) && repeat:
		return fmt.Errorf("no answer within %s", k.opts.RequestTimeout)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %s: whether it was carried out is unknown", k.opts.RequestTimeout)
	case status.Code(err) == codes.ResourceExhausted:
		return fmt.Errorf("%w: %w", msha.ErrTooLarge, err)
	}
	return err
}

func (k *link) attempts(parent context.Context, req rpc_request.IRequest, into rpc_response.IResponse, repeat bool) error {
	ctx, cancel := context.WithTimeout(parent, k.opts.RequestTimeout)
	defer cancel()
	defer context.AfterFunc(k.ctx, cancel)()
	renewed := false
	var last *session
	for {
		s, err := k.session(ctx, last)
		if err != nil {
			return err
		}
		headers, err := k.login.headers(ctx, s.to)
		if err != nil {
			return err
		}
		err = s.request(ctx, req, into, headers)
		code := codeOf(err)
		_, transport := status.FromError(err)
		switch {
		case err == nil:
			return nil
		case code == codeUnregistered: // so it was not carried out
			s.end(err)
			last = s
		case code == codeForbidden && !renewed && k.login.forget(headers):
			renewed = true // the token may have expired before its time
		case isStarting(err):
			select {
			case <-time.After(startingPause):
			case <-ctx.Done():
				return err
			}
		case !transport || ctx.Err() != nil || status.Code(err) == codes.ResourceExhausted:
			return err
		default: // the stream may notice later
			s.end(err)
			last = s
			if !repeat {
				return fmt.Errorf("whether it was carried out is unknown: %w", err)
			}
		}
	}
}

// listen has f called for each notice of a name until stop is called. F must not block.
func (k *link) listen(name string, f func()) (stop func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.listeners[name] == nil {
		k.listeners[name] = map[*func()]struct{}{}
	}
	k.listeners[name][&f] = struct{}{}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.listeners[name], &f)
		if len(k.listeners[name]) == 0 {
			delete(k.listeners, name)
		}
	}
}

// notice passes a notice of the server's on to who listens to its name.
func (k *link) notice(kind string, body []byte) {
	name := noticeName(kind, body)
	k.mu.Lock()
	defer k.mu.Unlock()
	for f := range k.listeners[name] {
		(*f)()
	}
}

// close ends the connection and waits for its goroutines; it does not wait for the server.
func (k *link) close() {
	k.cancel()
	k.wg.Wait()
}
