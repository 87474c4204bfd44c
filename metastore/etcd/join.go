package etcd

import (
	"context"
	"crypto/rand"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-msha/msha"
)

var errTaken = errors.New("member id is taken")

// stay is one Join.
type stay struct {
	name, key, value string
	joined           chan error    // answers Join, once
	left             chan error    // why an attempt to remove the entry failed
	gone             chan struct{} // closed when it is removed

	wanted bool // guarded by the session's mu

	// of the session's goroutine:
	answered bool             // joined was
	tried    bool             // the entry may exist
	settled  clientv3.LeaseID // the entry is there, attached to this lease
	taken    bool             // by another process, as was logged
}

// Join adds m until leave is called, ctx ends or the store closes; ErrConflict if the id is taken by a living member.
func (s *Store) Join(ctx context.Context, set string, m msha.Member) (func(context.Context) error, error) {
	const op = "metastore.join"
	if err := s.check(ctx, op, set); err != nil {
		return nil, err
	}
	name := set + "/" + m.ID
	value, err := encodeEntry(rand.Text(), m.Metadata)
	if err != nil || m.ID == "" {
		return nil, msha.Errorf(op, name, "", "%w: member without an id, or metadata that cannot be written: %v", msha.ErrInvalid, err)
	}
	st := &stay{name: name, key: s.keys.member(set, m.ID), value: value, joined: make(chan error, 1), left: make(chan error, 1),
		gone: make(chan struct{}), wanted: true}
	if !s.session.add(st) {
		return nil, closed(op, name)
	}
	select {
	case err = <-st.joined:
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.session.done:
		err = closed(op, name)
	}
	if err != nil {
		s.session.drop(st)
		if errors.Is(err, errTaken) {
			return nil, msha.Errorf(op, name, "give each process its own id", "%w: %w", msha.ErrConflict, err)
		}
		return nil, s.fail(ctx, op, name, err)
	}
	stop := context.AfterFunc(ctx, func() { s.session.drop(st) })
	return func(ctx context.Context) error {
		stop()
		return s.leave(ctx, st)
	}, nil
}

// leave waits until the entry is gone or one attempt to remove it failed; further ones follow by themselves.
func (s *Store) leave(ctx context.Context, st *stay) error {
	select {
	case <-st.left: // why an attempt before this call failed, after Join's ctx had ended
	default:
	}
	s.session.drop(st)
	select {
	case <-st.gone:
		return nil
	case err := <-st.left:
		return s.fail(ctx, "metastore.leave", st.name, err)
	case <-ctx.Done():
		return ctx.Err()
	case <-s.session.done: // the lease ends instead
		return nil
	}
}
