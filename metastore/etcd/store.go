package etcd

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

var (
	_ msha.MetaStore      = (*Store)(nil)
	_ msha.FreshGetter    = (*Store)(nil)
	_ msha.SafetyReporter = (*Store)(nil)
	_ msha.Membership     = (*Store)(nil)
)

// Store implements msha.MetaStore, FreshGetter, SafetyReporter and Membership. Its methods are safe for concurrent use.
type Store struct {
	client *clientv3.Client
	own    bool   // the client ends with the store
	user   *login // nil: none, or the caller's client's
	addr   string
	opts   Options
	keys   layout

	health  *follow.Health
	history history
	link    *link
	docs    *follow.Hub[msha.Document]
	members *follow.Hub[[]msha.Member]
	session *session

	once   sync.Once
	closed chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newStore(client *clientv3.Client, o Options, user *login) *Store {
	s := &Store{
		client: client, user: user, addr: strings.Join(client.Endpoints(), ","), opts: o, keys: layout{o.Prefix},
		link: newLink(client.ActiveConnection()), closed: make(chan struct{}),
	}
	s.health = follow.NewHealth("etcd", s.addr, o.Logger)
	pace := follow.Options{MaxBackoff: 2 * time.Second} // an attempt without a connection does not leave the process
	s.docs = follow.Documents(documents{s}, s.health, pace)
	s.members = follow.Members(members{s}, s.health, pace)
	s.session = newSession(s)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wg.Go(func() { s.link.run(ctx) })
	s.wg.Go(func() { s.session.run(ctx) })
	return s
}

// check refuses calls that need not be made.
func (s *Store) check(ctx context.Context, op, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.isClosed() {
		return closed(op, name)
	}
	if name == "" {
		return msha.Errorf(op, name, "", "%w: empty name", msha.ErrInvalid)
	}
	return nil
}

func (s *Store) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Get returns the current document, or ErrNotFound. It is linearizable.
func (s *Store) Get(ctx context.Context, key string) (msha.Document, error) {
	const op = "metastore.get"
	if err := s.check(ctx, op, key); err != nil {
		return msha.Document{}, err
	}
	v, err := s.docs.Read(ctx, key)
	if err != nil {
		return msha.Document{}, s.fail(ctx, op, key, err)
	}
	if v.Value.Revision == 0 {
		return msha.Document{}, msha.Errorf(op, key, "", "document %w", msha.ErrNotFound)
	}
	d := v.Value
	d.Value = bytes.Clone(d.Value) // watches have the other one
	return d, nil
}

// GetFresh is Get: reads are linearizable.
func (s *Store) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	return s.Get(ctx, key)
}

// Put stores value if the current revision is expect; otherwise ErrConflict. After any other error it may have been stored.
func (s *Store) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	const op = "metastore.put"
	if err := s.check(ctx, op, key); err != nil {
		return 0, err
	}
	if len(value) > s.opts.MaxValue {
		return 0, msha.Errorf(op, key, "use ranges or slots", "document of %d bytes %w: the limit is %d", len(value), msha.ErrTooLarge, s.opts.MaxValue)
	}
	at := s.keys.document(key)
	is := clientv3.Compare(clientv3.ModRevision(at), "=", int64(expect)) // 0: of a key that does not exist
	resp, err := s.commit(ctx, key, []clientv3.Cmp{is}, clientv3.OpPut(at, string(value)), clientv3.OpGet(at, clientv3.WithKeysOnly()))
	if err != nil {
		return 0, s.fail(ctx, op, key, err)
	}
	if !resp.Succeeded {
		return 0, conflict(op, key, expect, resp)
	}
	revision := uint64(resp.Header.Revision)
	d := msha.Document{Key: key, Value: append([]byte{}, value...), Revision: msha.Revision(revision)}
	s.docs.Observe(key, follow.Version[msha.Document]{Value: d, At: revision})
	return d.Revision, nil
}

// Delete removes the document if its revision is expect; otherwise ErrConflict, or ErrNotFound. After any other error it may have
// been removed.
func (s *Store) Delete(ctx context.Context, key string, expect msha.Revision) error {
	const op = "metastore.delete"
	if err := s.check(ctx, op, key); err != nil {
		return err
	}
	at := s.keys.document(key)
	is := []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(at), "=", int64(expect)),
		clientv3.Compare(clientv3.CreateRevision(at), ">", 0), // a key that does not exist has revision 0 too
	}
	resp, err := s.commit(ctx, key, is, clientv3.OpDelete(at), clientv3.OpGet(at, clientv3.WithKeysOnly()))
	if err != nil {
		return s.fail(ctx, op, key, err)
	}
	if !resp.Succeeded {
		if len(resp.Responses[0].GetResponseRange().Kvs) == 0 {
			return msha.Errorf(op, key, "", "document %w", msha.ErrNotFound)
		}
		return conflict(op, key, expect, resp)
	}
	s.docs.Observe(key, follow.Version[msha.Document]{Value: msha.Document{Key: key}, At: uint64(resp.Header.Revision)})
	return nil
}

func conflict(op, key string, expect msha.Revision, resp *clientv3.TxnResponse) error {
	found := int64(0)
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		found = kvs[0].ModRevision
	}
	return msha.Errorf(op, key, "read it again", "%w: expected revision %d, found %d", msha.ErrConflict, expect, found)
}

// Watch delivers the current document first, then newer ones, coalesced, until ctx ends or the store closes.
func (s *Store) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	if err := s.check(ctx, "metastore.watch", key); err != nil {
		return nil, err
	}
	return s.docs.Watch(ctx, key)
}

// Safe reports whether the cluster is still the one that accepted what this store wrote and read. It does not block.
func (s *Store) Safe() error { return s.health.Safe() }

// Close ends the watches and takes the members of this store out, the latter only if the server answers within half a second;
// otherwise they disappear after Options.MemberTTL. A client given to New stays open. Close may be called again.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.cancel()
		s.docs.Close()
		s.members.Close()
		s.wg.Wait()
		if s.own {
			s.client.Close() //nolint:errcheck // it answers by its context's error
		}
	})
	return nil
}

// read is every linearizable read: its answer must belong to the history seen so far.
func (s *Store) read(ctx context.Context, at string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	newest := s.history.newest()
	resp, err := s.client.Get(ctx, at, opts...)
	if err == nil {
		if reason := s.history.saw(newest, resp.Header); reason != "" {
			s.health.MarkUnsafe(at, reason)
		}
	}
	return resp, err
}

// commit is every change: one transaction, which the client sends once.
func (s *Store) commit(ctx context.Context, at string, conditions []clientv3.Cmp, then, otherwise clientv3.Op) (*clientv3.TxnResponse, error) {
	newest := s.history.newest()
	resp, err := s.client.Txn(ctx).If(conditions...).Then(then).Else(otherwise).Commit()
	if err == nil {
		if reason := s.history.saw(newest, resp.Header); reason != "" {
			s.health.MarkUnsafe(at, reason)
		}
	}
	return resp, err
}
