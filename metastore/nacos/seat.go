package nacos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

const (
	registerInstance   = "registerInstance"
	deregisterInstance = "deregisterInstance"
)

// leaveTimeout is how long a member waits for Nacos to take its leave, before it cuts the connection, which has the same effect.
const leaveTimeout = 2 * time.Second

// seat is one membership.
type seat struct {
	*Store
	key      seatKey
	lane     *lane
	metadata map[string]string
	attempt  attempt         // the latest
	past     map[string]bool // entries of earlier attempts
}

// Join adds m until leave is called, ctx ends or the process dies; ErrConflict if the id is taken by a living member. The server can not
// reserve an id: Join agrees with other joiners by what is listed, see the package comment for what that leaves open.
func (s *Store) Join(ctx context.Context, set string, m msha.Member) (leave func(context.Context) error, err error) {
	if err := s.usable(ctx, "join", set); err != nil {
		return nil, err
	}
	resource := set + "/" + m.ID
	if m.ID == "" {
		return nil, msha.Errorf("metastore.join", resource, "", "%w: empty member id", msha.ErrInvalid)
	}
	t := &seat{Store: s, key: seatKey{set, m.ID}, past: map[string]bool{}}
	if t.metadata, err = encodeMember(m); err == nil {
		t.lane, err = s.members.take(t.key)
	}
	if err != nil {
		return nil, s.fail("join", resource, err)
	}
	session, err := t.enter(ctx)
	if err != nil {
		s.members.free(t.key, t.lane)
		return nil, s.fail("join", resource, err)
	}
	stay, end := context.WithCancel(ctx)
	done := make(chan struct{})
	held := s.members.hold(func() {
		defer close(done)
		t.keep(stay, session)
	})
	if !held { // the end of the connection was that of the member
		end()
		s.members.free(t.key, t.lane)
		return nil, s.fail("join", resource, msha.ErrClosed)
	}
	return func(ctx context.Context) error {
		end()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, nil
}

// view is what the list says about a member id, from the place of one who wants it.
type view struct {
	mine, member bool // the own entry is listed; as a member's
	taken        bool // a member's entry, or that of a joiner who goes first, is listed
	wait         bool // a joiner is listed who may have been there before
}

func (t *seat) look(ctx context.Context) (view, error) {
	all, err := t.list(ctx, t.lane.link, t.key.set)
	var v view
	for _, e := range all {
		switch {
		case e.member.ID != t.key.id || t.past[e.id]:
		case e.id == t.attempt.entry: // some servers list the joiner's instance besides the member's
			v.mine, v.member = true, v.member || !e.joining
		case !e.joining || e.id < t.attempt.entry:
			v.taken = true
		default:
			v.wait = true
		}
	}
	return v, err
}

func (t *seat) taken() error { return taken(t.key) }

func taken(k seatKey) error {
	return msha.Errorf("metastore.join", k.set+"/"+k.id, "give each process its own id; that of one that died is free after some 25 s", "nacos: %w: member id is taken", msha.ErrConflict)
}

// enter joins, within the timeout of a request.
func (t *seat) enter(ctx context.Context) (*session, error) {
	within, cancel := context.WithTimeout(ctx, t.opts.RequestTimeout)
	defer cancel()
	for {
		s, err := t.lane.link.session(within, nil)
		if err == nil {
			err = t.settle(within, s)
		}
		switch {
		case err == nil:
			return s, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, context.DeadlineExceeded): // ours
			return nil, fmt.Errorf("not joined within %s", t.opts.RequestTimeout)
		case within.Err() != nil:
			return nil, fmt.Errorf("not joined within %s: %w", t.opts.RequestTimeout, err)
		case s == nil || s.ctx.Err() == nil:
			return nil, err
		}
	}
}

// settle makes the member the only one with its id. It registers as one who is joining, and once it is listed it sees everybody who
// registered before. It withdraws if that is a member, or a joiner with a smaller entry id; it waits for one with a larger entry id, who
// either did not see it and becomes a member, or withdraws. So at most one becomes a member, if lists show registrations in their order.
func (t *seat) settle(ctx context.Context, s *session) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })() // what was registered is gone with the session
	// What a lost connection may still have there is no rival.
	t.past[t.attempt.entry] = true
	t.attempt = newAttempt()
	v, err := t.look(ctx)
	if err != nil {
		return err
	}
	if v.taken {
		return t.taken()
	}
	err = t.await(ctx, true, func(v view) bool { return v.mine && !v.wait })
	if err == nil {
		err = t.await(ctx, false, func(v view) bool { return v.member })
	}
	if err != nil {
		t.withdraw()
	}
	return err
}

// await registers and looks until done.
func (t *seat) await(ctx context.Context, joining bool, done func(view) bool) error {
	if err := t.register(ctx, t.lane.link, t.key.set, registerInstance, t.attempt.instance(t.metadata, joining)); err != nil {
		return err
	}
	backoff := follow.Backoff{Min: 5 * time.Millisecond, Max: 50 * time.Millisecond}
	for {
		v, err := t.look(ctx)
		switch {
		case err != nil:
			return err
		case joining && v.taken:
			return t.taken()
		case done(v):
			return nil
		}
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// keep is there until stay or the store ends, then leaves. After a lost connection it joins again.
func (t *seat) keep(stay context.Context, s *session) {
	what := "member " + t.key.set + "/" + t.key.id
	defer t.members.free(t.key, t.lane)
	defer t.health.Forget(what)
	for {
		select {
		case <-t.members.ctx.Done(): // the end of the connection is that of the member
			return
		case <-stay.Done():
			t.withdraw()
			return
		case <-s.ctx.Done():
		}
		t.health.Lost(what, context.Cause(s.ctx))
		if s = t.rejoin(stay); s != nil {
			t.health.Fine(what)
			continue
		}
		return // nothing is registered
	}
}

// rejoin registers on the next connection, once no other process has the id; nil if the membership ended before.
func (t *seat) rejoin(stay context.Context) *session {
	stay, cancel := context.WithCancel(stay)
	defer cancel()
	defer context.AfterFunc(t.members.ctx, cancel)()
	backoff := follow.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	warned := false
	for {
		s, err := t.lane.link.session(stay, nil)
		if err != nil {
			return nil
		}
		if err = t.settle(stay, s); err == nil {
			return s // had it been another session, this one has ended
		}
		if errors.Is(err, msha.ErrConflict) && !warned {
			warned = true
			t.opts.Logger.Warn("member id was taken by another process: waiting until it leaves", "backend", "nacos", "set", t.key.set, "id", t.key.id)
		}
		if backoff.Wait(stay) != nil {
			return nil
		}
	}
}

// withdraw takes the member off the list. A server that does not answer loses the connection, and the member with it.
func (t *seat) withdraw() {
	ctx, cancel := context.WithTimeout(t.members.ctx, leaveTimeout)
	defer cancel()
	s, err := t.lane.link.session(ctx, nil)
	if err != nil {
		return // no connection, no member
	}
	for _, joining := range []bool{false, true} {
		if t.register(ctx, t.lane.link, t.key.set, deregisterInstance, t.attempt.instance(t.metadata, joining)) != nil {
			s.end(errSilent)
			return
		}
	}
}
