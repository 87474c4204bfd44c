package redis

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

var (
	_ msha.MetaStore      = (*Store)(nil)
	_ msha.FreshGetter    = (*Store)(nil)
	_ msha.Membership     = (*Store)(nil)
	_ msha.SafetyReporter = (*Store)(nil)
)

// Store implements msha.MetaStore, msha.Membership, msha.FreshGetter and msha.SafetyReporter. Its methods are safe for concurrent use.
type Store struct {
	client goredis.UniversalClient
	conns  *conns // nil: the client is the user's
	addr   string // for errors and logs
	opts   Options
	health *follow.Health

	docs    *follow.Hub[msha.Document]
	members *follow.Hub[[]msha.Member]
	notices *notices
	holder  *holder
	lists   lists

	ended context.Context // done once Close is called
	end   context.CancelFunc

	mu        sync.Mutex         // guards what follows
	closing   bool               // Close was called
	closed    bool               // no more requests
	calls     sync.WaitGroup     // requests on their way
	histories map[string]history // of each document seen, the newest
}

// Open connects to a server, to the nodes of a cluster or to sentinels, as the options say, and checks that documents can be read there.
// It blocks until ctx or Options.DialTimeout ends.
func Open(ctx context.Context, addrs []string, o *Options) (*Store, error) {
	opts := o.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if len(addrs) == 0 || len(addrs) > 1 && !opts.Cluster && opts.Master == "" {
		return nil, msha.Errorf("metastore.redis.open", strings.Join(addrs, ","), "set Options.Cluster, or Options.Master for sentinels, or give one address",
			"%w: %d addresses", msha.ErrInvalid, len(addrs))
	}
	conns := newConns(opts.DialTimeout, opts.TLS)
	s := start(opts.client(addrs, conns), conns, strings.Join(addrs, ","), opts)
	within, cancel := context.WithTimeout(ctx, opts.DialTimeout)
	defer cancel()
	err := s.probe(within)
	if err == nil {
		return s, nil
	}
	_ = s.Close()
	if err == context.DeadlineExceeded && ctx.Err() == nil { //nolint:errorlint // passed on as it is
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 0 {
			err = msha.Errorf("metastore.redis.open", s.addr, "check addresses and network, and whether both or neither speak TLS (Options.TLS)", "no answer within %v", opts.DialTimeout)
		}
	}
	return nil, err
}

// New uses a client of the caller's, which stays open after Close. It must send to masters only: no ReadOnly, RouteByLatency or
// RouteRandomly. Nothing is checked before the first request. ErrUnsupported with Options.Replicas and another client than a
// *redis.Client or *redis.ClusterClient.
func New(client goredis.UniversalClient, o *Options) (*Store, error) {
	opts := o.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if client == nil {
		return nil, msha.Errorf("metastore.redis.open", "options", "", "%w: no client", msha.ErrInvalid)
	}
	if opts.Replicas > 0 {
		switch client.(type) {
		case *goredis.Client, *goredis.ClusterClient:
		default:
			return nil, msha.Errorf("metastore.redis.open", "options", "leave Replicas out", "%w: Replicas with a %T", msha.ErrUnsupported, client)
		}
	}
	return start(client, nil, addrOf(client), opts), nil
}

func addrOf(client goredis.UniversalClient) string {
	switch client := client.(type) {
	case *goredis.Client:
		return client.Options().Addr
	case *goredis.ClusterClient:
		return strings.Join(client.Options().Addrs, ",")
	default:
		return fmt.Sprintf("%T", client)
	}
}

func start(client goredis.UniversalClient, conns *conns, addr string, opts Options) *Store {
	s := &Store{client: client, conns: conns, addr: addr, opts: opts, histories: map[string]history{}, lists: newLists()}
	s.health = follow.NewHealth("redis", addr, opts.Logger)
	s.ended, s.end = context.WithCancel(context.Background())
	s.docs = follow.Documents(docSource{s}, s.health, follow.Options{Poll: opts.Poll})
	s.members = follow.Members(memberSource{s}, s.health, follow.Options{Poll: opts.MemberTTL / 2})
	s.notices = newNotices(s)
	s.holder = newHolder(s)
	return s
}

// probe reads as Get does, and refuses a replica, whose reads are stale.
func (s *Store) probe(ctx context.Context) error {
	if _, err := s.readDocument(ctx, "open", ""); err != nil {
		return err
	}
	if s.opts.Cluster {
		return nil // the client asks masters
	}
	role, err := do(ctx, s, "open", "", func(ctx context.Context) (any, error) { return s.client.Do(ctx, "role").Result() })
	if list, ok := role.([]any); err == nil && ok && len(list) > 0 && list[0] == "slave" {
		return msha.Errorf("metastore.redis.open", s.addr, "give the master's address, or the sentinels and Options.Master", "%w: the server is a replica", msha.ErrInvalid)
	}
	return nil // without the permission to ask, the first write tells
}

// Safe implements msha.SafetyReporter: ErrUnsafe once a revision or a document's history was seen to go back.
func (s *Store) Safe() error { return s.health.Safe() }

// Close ends watches and requests, takes the members off the list if the server answers at once, and closes the connections unless the
// client is the caller's. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	closing := s.closing
	s.closing = true
	s.mu.Unlock()
	if closing {
		return nil
	}
	s.holder.close()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	if s.conns != nil {
		s.conns.close()
	}
	s.notices.close()
	s.docs.Close()
	s.members.Close()
	if s.conns == nil {
		return nil // requests of the caller's client end by its own timeouts
	}
	s.calls.Wait()
	return s.client.Close()
}

// begin counts a request in; done must be called once it ended.
func (s *Store) begin() (done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	s.calls.Add(1)
	return s.calls.Done, true
}

// do runs a request that changes nothing or may be repeated; the client does not stop waiting for an answer when ctx is cancelled, so do
// goes away without it.
func do[T any](ctx context.Context, s *Store, op, name string, request func(context.Context) (T, error)) (T, error) {
	return await(ctx, s, op, name, false, request)
}

func await[T any](ctx context.Context, s *Store, op, name string, write bool, request func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	done, ok := s.begin()
	if !ok {
		return none, msha.Errorf("metastore.redis."+op, s.resource(name), "", "metastore %w", msha.ErrClosed)
	}
	answers := make(chan answer, 1)
	go func() {
		defer done()
		value, err := request(ctx)
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		if a.err == nil {
			return a.value, nil
		}
		s.relearn()
		// The deadline of a connection fires a moment before the context it was taken from.
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= 0 {
			return none, context.DeadlineExceeded
		}
		return none, s.failure(ctx, op, name, write, a.err)
	case <-ctx.Done():
		return none, ctx.Err()
	case <-s.ended.Done():
		return none, msha.Errorf("metastore.redis."+op, s.resource(name), "", "metastore %w", msha.ErrClosed)
	}
}
