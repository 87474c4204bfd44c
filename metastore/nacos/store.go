package nacos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

var (
	_ msha.MetaStore      = (*Store)(nil)
	_ msha.Membership     = (*Store)(nil)
	_ msha.FreshGetter    = (*Store)(nil)
	_ msha.SafetyReporter = (*Store)(nil)
)

// Store implements msha.MetaStore, msha.Membership, msha.FreshGetter and msha.SafetyReporter on a Nacos server or cluster. Its methods
// are safe for concurrent use.
type Store struct {
	opts    Options
	health  *follow.Health
	servers []server
	login   *login
	link    *link // of the documents
	docs    *follow.Hub[msha.Document]
	sets    *follow.Hub[[]msha.Member]
	seen    *memory
	members *lanes

	compares atomic.Bool // the server honours compare-and-set

	closing sync.Once
	closed  chan struct{}
}

// Open connects to Nacos at addr (host:port of its HTTP interface, several nodes separated by commas, as in msha.commander.addr), and
// verifies that documents can be read and written and that compare-and-set is honoured; a server that does not honour it gives a store
// that is not Safe. It returns within ctx and Options.DialTimeout.
func Open(ctx context.Context, addr string, o *Options) (*Store, error) {
	opts := o.withDefaults()
	servers, err := opts.check(addr)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Store{opts: opts, servers: servers, health: follow.NewHealth("nacos", addr, opts.Logger), login: newLogin(opts), seen: newMemory(), closed: make(chan struct{})}
	s.link = newLink(servers, moduleConfig, opts, s.login)
	s.members = newLanes(s)
	s.docs = follow.Documents(documentSource{s}, s.health, follow.Options{StaleReads: true, Poll: opts.Poll})
	s.sets = follow.Members(memberSource{s}, s.health, follow.Options{Poll: opts.Poll})
	within, cancel := context.WithTimeout(ctx, opts.DialTimeout)
	defer cancel()
	err = s.link.ready(within)
	if err == nil {
		err = s.probe(within)
	}
	if err != nil {
		_ = s.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = &notConnected{why: fmt.Errorf("no answer within %s", opts.DialTimeout)}
		}
		return nil, s.fail("open", addr, err)
	}
	return s, nil
}

// strictLimit is how many consumers may read the table linearizably all the time: each such read is a publish, and a row in Nacos's history.
// With G = 30 s twenty of them make three a second.
const strictLimit = 20

// StrictLimit implements msha.StrictLimiter.
func (s *Store) StrictLimit() int { return strictLimit }

// Safe implements msha.SafetyReporter.
func (s *Store) Safe() error { return s.health.Safe() }

// Close ends all watches and memberships. It does not wait for the server, and may be called again.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		s.docs.Close()
		s.sets.Close()
		s.members.close()
		s.link.close()
	})
	return nil
}

// usable is what each call checks before it asks the server.
func (s *Store) usable(ctx context.Context, op, resource string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closed:
		return msha.Errorf("metastore."+op, resource, "", "metastore %w", msha.ErrClosed)
	default:
	}
	if resource == "" {
		return msha.Errorf("metastore."+op, resource, "", "%w: empty name", msha.ErrInvalid)
	}
	return nil
}

// fail names backend, operation and resource of an error, and what to do; errors of a context and those that say all that are left alone.
func (s *Store) fail(op, resource string, err error) error {
	var done *msha.OpError
	switch {
	case err == nil || err == context.Canceled || err == context.DeadlineExceeded || errors.As(err, &done):
		return err
	case errors.Is(err, msha.ErrClosed):
		return msha.Errorf("metastore."+op, resource, "", "metastore %w", msha.ErrClosed)
	}
	h := hint(err)
	if h == "" && errors.As(err, new(*notConnected)) {
		h = fmt.Sprintf("check that Nacos runs, that the address is that of its HTTP interface and that gRPC (%s) is reachable; with or without TLS", s.servers[0].grpc)
	}
	return msha.Errorf("metastore."+op, resource, h, "nacos %s: %w", s.servers[0].addr, err)
}
