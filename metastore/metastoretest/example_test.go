package metastoretest_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/metastoretest"
)

// table stands for your server: rows with a version that it compares and sets atomically, here under a lock. One counter for all
// rows, so that a row that is deleted and written again goes on with a larger version.
type table struct {
	mu      sync.Mutex
	version msha.Revision
	rows    map[string]msha.Document
}

// store is a client of it.
type store struct {
	*table
	closed context.Context // ends with Close
	close  context.CancelFunc
}

func open(t *table) *store {
	s := &store{table: t}
	s.closed, s.close = context.WithCancel(context.Background())
	return s
}

// ready refuses a call; the error of ctx is passed on as it is.
func (s *store) ready(ctx context.Context, op, key string) error {
	if s.closed.Err() != nil {
		return msha.Errorf(op, key, "", "metastore %w", msha.ErrClosed)
	}
	return ctx.Err()
}

func (s *store) Get(ctx context.Context, key string) (msha.Document, error) {
	if err := s.ready(ctx, "metastore.get", key); err != nil {
		return msha.Document{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.rows[key]
	if !ok {
		return d, msha.Errorf("metastore.get", key, "", "document %w", msha.ErrNotFound)
	}
	return msha.Document{Key: key, Value: bytes.Clone(d.Value), Revision: d.Revision}, nil
}

func (s *store) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if err := s.ready(ctx, "metastore.put", key); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.rows[key].Revision; have != expect {
		return 0, msha.Errorf("metastore.put", key, "read it again", "%w: expected %d, found %d", msha.ErrConflict, expect, have)
	}
	s.version++
	s.rows[key] = msha.Document{Key: key, Value: bytes.Clone(value), Revision: s.version}
	return s.version, nil
}

func (s *store) Delete(ctx context.Context, key string, expect msha.Revision) error {
	if err := s.ready(ctx, "metastore.delete", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.rows[key].Revision; have != expect {
		return msha.Errorf("metastore.delete", key, "read it again", "%w: expected %d, found %d", msha.ErrConflict, expect, have)
	}
	delete(s.rows, key)
	return nil
}

// Watch polls, which every server can. The row is read again for each delivery, so a slow reader gets the newest one.
func (s *store) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	if err := s.ready(ctx, "metastore.watch", key); err != nil {
		return nil, err
	}
	out := make(chan msha.Document)
	go func() {
		defer close(out)
		for last, first := msha.Revision(0), true; ; {
			d, err := s.Get(ctx, key)
			deliver := out
			if d.Key = key; err != nil && !errors.Is(err, msha.ErrNotFound) || !first && d.Revision == last {
				deliver = nil // nothing new, or no answer: the next look may have one
			}
			select {
			case deliver <- d:
				last, first = d.Revision, false
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return
			case <-s.closed.Done():
				return
			}
		}
	}()
	return out, nil
}

func (s *store) Close() error {
	s.close()
	return nil
}

// conformance is all the test there is: open your server, or a client of a running one, and say what it offers.
func conformance(t *testing.T) {
	metastoretest.Run(t, func(t *testing.T) metastoretest.Harness {
		server := &table{rows: map[string]msha.Document{}}
		s, second := open(server), open(server)
		t.Cleanup(func() { _, _ = s.Close(), second.Close() })
		return metastoretest.Harness{Store: s, Second: second}
	})
}

// A backend of your own: five methods, and a test that plays the suite. Membership and the optional interfaces can follow; what the
// harness does not offer is not tested.
func Example() {
	_ = conformance // call it TestConformance in a file of your own
}
