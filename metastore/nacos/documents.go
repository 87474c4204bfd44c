package nacos

import (
	"context"
	"fmt"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

const (
	// settle is how long a read waits for a version that must exist already.
	settle = time.Second
	// staleLimit is how long a server may serve an older version than before until it is asked whether it has lost the newer one.
	staleLimit = 10 * time.Second
)

// Get returns the current document, or ErrNotFound. It may be older than what other clients wrote just before, never older than what this
// store has seen.
func (s *Store) Get(ctx context.Context, key string) (msha.Document, error) {
	if err := s.usable(ctx, "get", key); err != nil {
		return msha.Document{}, err
	}
	v, err := s.docs.Read(ctx, key)
	return s.found(v.Value, "get", key, err)
}

// GetFresh is Get, at least as new as any change that ended before the call: the server is made to compare the version with its database
// by a publish that changes nothing, which adds a row to the document's history. On a server that does not honour compare-and-set it is
// Get.
func (s *Store) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	if err := s.usable(ctx, "get", key); err != nil {
		return msha.Document{}, err
	}
	v, err := s.fresh(ctx, key)
	if err == nil {
		s.docs.Observe(key, version(key, v))
	}
	return s.found(v.document(key), "get", key, err)
}

func (s *Store) found(d msha.Document, op, key string, err error) (msha.Document, error) {
	switch {
	case err != nil:
		return msha.Document{}, s.fail(op, key, err)
	case d.Revision == 0:
		return msha.Document{}, msha.Errorf("metastore."+op, key, "", "nacos: document %w", msha.ErrNotFound)
	}
	d.Value = append([]byte{}, d.Value...) // watches share it
	return d, nil
}

// Put stores value if the current revision is expect; otherwise ErrConflict. If the answer got lost, whether it was stored is unknown.
func (s *Store) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if err := s.usable(ctx, "put", key); err != nil {
		return 0, err
	}
	if len(value) > s.opts.MaxValue {
		return 0, msha.Errorf("metastore.put", key, "use ranges or slots", "nacos: document of %d bytes %w: the limit is %d", len(value), msha.ErrTooLarge, s.opts.MaxValue)
	}
	v, err := s.replace(ctx, key, uint64(expect), value, true)
	if err != nil {
		return 0, s.fail("put", key, err)
	}
	return msha.Revision(v.revision), nil
}

// Delete removes the document if its revision is expect; otherwise ErrConflict, or ErrNotFound. A note of its revision stays in Nacos.
func (s *Store) Delete(ctx context.Context, key string, expect msha.Revision) error {
	if err := s.usable(ctx, "delete", key); err != nil {
		return err
	}
	if expect == 0 {
		return msha.Errorf("metastore.delete", key, "read it again", "nacos: %w: no document has revision 0", msha.ErrConflict)
	}
	_, err := s.replace(ctx, key, uint64(expect), nil, false)
	return s.fail("delete", key, err)
}

// Watch delivers the current document first, then newer ones, coalesced, until ctx ends or the store closes.
func (s *Store) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	if err := s.usable(ctx, "watch", key); err != nil {
		return nil, err
	}
	return s.docs.Watch(ctx, key)
}

func version(key string, v state) follow.Version[msha.Document] {
	return follow.Version[msha.Document]{Value: v.document(key), At: v.revision}
}

// read returns the newest version known after asking the server.
func (s *Store) read(ctx context.Context, key string) (state, error) {
	v, err := s.query(ctx, key)
	if err != nil {
		return v, err
	}
	v = s.seen.saw(key, v)
	if _, floor := s.seen.newest(key); v.revision < floor && s.swaps() {
		if v, err = s.catchUp(ctx, key); err != nil {
			return v, err
		}
		v = s.seen.saw(key, v)
	}
	if s.seen.behindFor(key) > staleLimit && s.swaps() {
		return s.fresh(ctx, key)
	}
	return v, nil
}

// catchUp reads until the server serves a version that can be the current one, for a limited time.
func (s *Store) catchUp(ctx context.Context, key string) (state, error) {
	backoff := follow.Backoff{Min: 5 * time.Millisecond, Max: 100 * time.Millisecond}
	for began := time.Now(); ; {
		v, err := s.query(ctx, key)
		if err != nil {
			return v, err
		}
		s.seen.saw(key, v)
		if _, floor := s.seen.newest(key); v.revision >= floor || time.Since(began) > settle {
			return v, nil
		}
		if err := backoff.Wait(ctx); err != nil {
			return v, err
		}
	}
}

// fresh returns the version that the server's database confirms. A confirmed version older than one seen before is a lost history.
func (s *Store) fresh(ctx context.Context, key string) (state, error) {
	if !s.swaps() {
		return s.read(ctx, key)
	}
	v, _ := s.seen.newest(key)
	for {
		if !v.known {
			var err error
			if v, err = s.catchUp(ctx, key); err != nil {
				return v, err
			}
		}
		current, err := s.confirm(ctx, key, v)
		if err != nil || current {
			return v, err
		}
		v = state{}
	}
}

// confirm asks whether a version is the current one, and draws the conclusions.
func (s *Store) confirm(ctx context.Context, key string, v state) (bool, error) {
	before, floor := s.seen.newest(key) // was the current one at some time before the question
	current, err := s.isCurrent(ctx, key, v)
	if err != nil || !current {
		return false, err
	}
	if v.revision < before.revision {
		s.health.MarkUnsafe(key, fmt.Sprintf("revision went back from %d to %d: the server lost accepted writes (restored backup)", before.revision, v.revision))
		s.seen.restart(key, v)
		return true, nil
	}
	s.seen.confirmed(key, v, floor)
	return true, nil
}

// replace swaps the version that is expected for another one (live false: for none). The decision is always the database's comparison:
// what was read, or remembered, only says what to compare with.
func (s *Store) replace(ctx context.Context, key string, expect uint64, value []byte, live bool) (state, error) {
	done, err := s.seen.write(ctx, key)
	if err != nil {
		return state{}, err
	}
	defer done()
	if !s.swaps() {
		return s.overwrite(ctx, key, expect, value, live)
	}
	v, floor := s.seen.newest(key)
	if !v.known || v.revision < max(floor, expect) {
		if v, err = s.catchUp(ctx, key); err != nil {
			return v, err
		}
	}
	for {
		switch {
		case fits(v, expect):
			next := encode(v.revision+1, value, live)
			swapped, err := s.swap(ctx, key, v, next, false)
			if err != nil {
				return v, err
			}
			if swapped {
				s.seen.saw(key, next)
				s.docs.Observe(key, version(key, next))
				return next, nil
			}
			s.seen.outdated(key, v)
			if expect > 0 {
				return v, conflict(expect, "another version is current")
			}
		case expect > 0 && v.revision > expect: // it was current before, so the expected one is past
			return v, mismatch(expect, v, live)
		default: // an older version than expected, or a document where none is: unless the read was stale, this is it
			current, err := s.confirm(ctx, key, v)
			if err != nil {
				return v, err
			}
			if current {
				return v, mismatch(expect, v, live)
			}
		}
		if v, err = s.catchUp(ctx, key); err != nil {
			return v, err
		}
	}
}

// fits says whether a version is the expected one; 0 expects none.
func fits(v state, expect uint64) bool {
	if expect == 0 {
		return !v.live
	}
	return v.live && v.revision == expect
}

func conflict(expect uint64, found string) error {
	return fmt.Errorf("%w: expected revision %d, but %s", msha.ErrConflict, expect, found)
}

// mismatch is why a version was not replaced, or not deleted (live false).
func mismatch(expect uint64, v state, live bool) error {
	switch {
	case v.live:
		return conflict(expect, fmt.Sprintf("found %d", v.revision))
	case live:
		return conflict(expect, "found none")
	}
	return fmt.Errorf("document %w", msha.ErrNotFound)
}

// overwrite is replace on a server that does not compare: best effort, and the store says that it is unsafe.
func (s *Store) overwrite(ctx context.Context, key string, expect uint64, value []byte, live bool) (state, error) {
	v, err := s.read(ctx, key)
	if err != nil {
		return v, err
	}
	if !fits(v, expect) {
		return v, mismatch(expect, v, live)
	}
	next := encode(v.revision+1, value, live)
	if _, err := s.publish(ctx, key, next.raw, v.md5, false); err != nil {
		return v, err
	}
	s.seen.saw(key, next)
	s.docs.Observe(key, version(key, next))
	return next, nil
}
