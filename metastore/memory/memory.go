// Package memory is a metastore inside one process: for tests, the demo and programs that run every unit themselves. It is as strict
// as the best server: reads are linearizable, compare-and-set is exact, revisions never go back.
package memory

import (
	"bytes"
	"context"
	"maps"
	"sort"
	"sync"

	"github.com/go-msha/msha"
)

// MaxValue is the largest document accepted, as on the strictest server supported.
const MaxValue = 1 << 20

// Store implements msha.MetaStore and msha.Membership. Its methods never block for long and are safe for concurrent use.
type Store struct {
	mu       sync.Mutex
	closed   chan struct{}
	revision msha.Revision // of the newest change of any document
	docs     map[string]msha.Document
	watchers map[string]map[chan struct{}]struct{} // wake-up calls per key
	members  map[string]map[string]msha.Member
	joined   map[string]map[chan struct{}]struct{} // wake-up calls per member set
}

// New returns an empty store.
func New() *Store {
	return &Store{
		closed: make(chan struct{}), docs: map[string]msha.Document{}, watchers: map[string]map[chan struct{}]struct{}{},
		members: map[string]map[string]msha.Member{}, joined: map[string]map[chan struct{}]struct{}{},
	}
}

func (s *Store) check(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closed:
		return msha.Errorf(op, key, "", "metastore %w", msha.ErrClosed)
	default:
	}
	if key == "" {
		return msha.Errorf(op, key, "", "%w: empty key", msha.ErrInvalid)
	}
	return nil
}

// Get returns the current document, or ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (msha.Document, error) {
	if err := s.check(ctx, "metastore.get", key); err != nil {
		return msha.Document{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.docs[key]
	if !ok {
		return msha.Document{}, msha.Errorf("metastore.get", key, "", "document %w", msha.ErrNotFound)
	}
	return clone(d), nil
}

// GetFresh is Get: reads are linearizable.
func (s *Store) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	return s.Get(ctx, key)
}

// Put stores value if the current revision is expect; otherwise ErrConflict.
func (s *Store) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if err := s.check(ctx, "metastore.put", key); err != nil {
		return 0, err
	}
	if len(value) > MaxValue {
		return 0, msha.Errorf("metastore.put", key, "", "document of %d bytes %w: the limit is %d", len(value), msha.ErrTooLarge, MaxValue)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.docs[key].Revision; have != expect {
		return 0, msha.Errorf("metastore.put", key, "read it again", "%w: expected revision %d, found %d", msha.ErrConflict, expect, have)
	}
	s.revision++
	s.docs[key] = msha.Document{Key: key, Value: append([]byte{}, value...), Revision: s.revision}
	wake(s.watchers[key])
	return s.revision, nil
}

// Delete removes the document if its revision is expect; otherwise ErrConflict, or ErrNotFound.
func (s *Store) Delete(ctx context.Context, key string, expect msha.Revision) error {
	if err := s.check(ctx, "metastore.delete", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.docs[key]
	if !ok {
		return msha.Errorf("metastore.delete", key, "", "document %w", msha.ErrNotFound)
	}
	if d.Revision != expect {
		return msha.Errorf("metastore.delete", key, "read it again", "%w: expected revision %d, found %d", msha.ErrConflict, expect, d.Revision)
	}
	delete(s.docs, key)
	wake(s.watchers[key])
	return nil
}

// Watch delivers the current document first, then newer ones, coalesced, until ctx ends or the store closes.
func (s *Store) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	if err := s.check(ctx, "metastore.watch", key); err != nil {
		return nil, err
	}
	out := make(chan msha.Document)
	calls := s.listen(s.watchers, key)
	go func() {
		defer close(out)
		defer s.ignore(s.watchers, key, calls)
		first, last := true, msha.Document{}
		for {
			s.mu.Lock()
			d := clone(s.docs[key])
			s.mu.Unlock()
			d.Key = key
			if first || d.Revision != last.Revision {
				select {
				case out <- d:
					first, last = false, d
				case <-ctx.Done():
					return
				case <-s.closed:
					return
				}
			}
			select {
			case <-calls:
			case <-ctx.Done():
				return
			case <-s.closed:
				return
			}
		}
	}()
	return out, nil
}

// Join adds m until leave is called or ctx ends; ErrConflict if the id is taken.
func (s *Store) Join(ctx context.Context, set string, m msha.Member) (func(context.Context) error, error) {
	if err := s.check(ctx, "metastore.join", set); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.members[set][m.ID]; taken {
		return nil, msha.Errorf("metastore.join", set+"/"+m.ID, "give each process its own id", "%w: member id is taken", msha.ErrConflict)
	}
	if s.members[set] == nil {
		s.members[set] = map[string]msha.Member{}
	}
	m.Metadata = maps.Clone(m.Metadata)
	s.members[set][m.ID] = m
	wake(s.joined[set])
	var once sync.Once
	remove := func() {
		once.Do(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.members[set], m.ID)
			wake(s.joined[set])
		})
	}
	stop := context.AfterFunc(ctx, remove)
	return func(context.Context) error {
		stop()
		remove()
		return nil
	}, nil
}

// WatchMembers delivers the current members sorted by ID, then again after every change, coalesced, until ctx ends.
func (s *Store) WatchMembers(ctx context.Context, set string) (<-chan []msha.Member, error) {
	if err := s.check(ctx, "metastore.members", set); err != nil {
		return nil, err
	}
	out := make(chan []msha.Member)
	calls := s.listen(s.joined, set)
	go func() {
		defer close(out)
		defer s.ignore(s.joined, set, calls)
		for {
			s.mu.Lock()
			list := make([]msha.Member, 0, len(s.members[set]))
			for _, m := range s.members[set] {
				m.Metadata = maps.Clone(m.Metadata) // the reader's own
				list = append(list, m)
			}
			s.mu.Unlock()
			sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
			select {
			case out <- list:
			case <-ctx.Done():
				return
			case <-s.closed:
				return
			}
			select {
			case <-calls:
			case <-ctx.Done():
				return
			case <-s.closed:
				return
			}
		}
	}()
	return out, nil
}

// Close ends all watches. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

// listen subscribes before the first read, so that no change between the two is missed.
func (s *Store) listen(to map[string]map[chan struct{}]struct{}, key string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to[key] == nil {
		to[key] = map[chan struct{}]struct{}{}
	}
	ch := make(chan struct{}, 1)
	to[key][ch] = struct{}{}
	return ch
}

func (s *Store) ignore(to map[string]map[chan struct{}]struct{}, key string, ch chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(to[key], ch)
}

func wake(calls map[chan struct{}]struct{}) {
	for ch := range calls {
		select {
		case ch <- struct{}{}:
		default: // a call is pending already
		}
	}
}

func clone(d msha.Document) msha.Document {
	d.Value = bytes.Clone(d.Value)
	return d
}
