package redis

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha/metastore/internal/follow"
)

// held is a member this store keeps alive.
type held struct {
	set, id, record string
	lost            bool // somebody else has the id; used by the holder's goroutine only
}

// hold puts members on their lists or keeps them there, in one request, and returns those whose id another living member has.
func (s *Store) hold(ctx context.Context, op string, members []*held) (taken []*held, err error) {
	var keys []string
	number := map[string]int{}
	args := []any{s.opts.MemberTTL.Milliseconds()}
	for _, h := range members {
		if number[h.set] == 0 {
			keys = append(keys, s.recordsKey(h.set), s.expiriesKey(h.set))
			number[h.set] = len(keys) / 2
		}
		args = append(args, number[h.set], h.id, h.record)
	}
	answers, err := await(ctx, s, op, members[0].set+"/"+members[0].id, true, func(ctx context.Context) ([]any, error) {
		answer, err := s.repeatable(ctx, holdScript, keys, args...)
		if err != nil {
			return nil, err
		}
		list, ok := answer.([]any)
		if !ok || len(list) != len(members) {
			return nil, unexpected(answer)
		}
		return list, nil
	})
	if err != nil {
		return nil, err
	}
	for i, h := range members {
		if answers[i] != int64(1) {
			taken = append(taken, h)
		}
	}
	return taken, nil
}

// holder refreshes the members of a store: one request for all of them, three times in their time to live.
type holder struct {
	s    *Store
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	turn chan struct{} // holds one token: nobody leaves while a refresh is on its way, which could bring it back

	farewell time.Duration // how long close waits for the server

	mu      sync.Mutex
	closed  bool
	running bool
	members []*held
}

func newHolder(s *Store) *holder {
	h := &holder{s: s, turn: make(chan struct{}, 1), farewell: 300 * time.Millisecond}
	h.ctx, h.stop = context.WithCancel(s.ended)
	return h
}

func (r *holder) add(h *held) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.members = append(r.members, h)
	if !r.running {
		r.running = true
		r.wg.Go(r.run)
	}
	return true
}

// remove reports whether the member was held.
func (r *holder) remove(h *held) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.members, h)
	if i < 0 {
		return false
	}
	r.members = slices.Delete(r.members, i, i+1)
	return true
}

// leave takes a member off the list, unless that has been done.
func (r *holder) leave(ctx context.Context, h *held) error {
	if !r.remove(h) {
		return nil
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.s.leave(ctx, h)
}

// abandon takes a member off the list in the background; if that fails it expires.
func (r *holder) abandon(h *held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, r.s.opts.Timeout)
		defer cancel()
		_ = r.leave(ctx, h)
	})
}

// close ends the refreshing. Members are taken off their lists as long as the server answers at once; the others expire.
func (r *holder) close() {
	r.mu.Lock()
	r.closed = true
	members := slices.Clone(r.members)
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.ctx, r.farewell)
	defer cancel()
	for _, h := range members {
		if r.leave(ctx, h) != nil {
			break
		}
	}
	r.stop()
	r.wg.Wait()
}

// due lists the members; run ends when there are none.
func (r *holder) due() []*held {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = len(r.members) > 0
	return slices.Clone(r.members)
}

func (r *holder) run() {
	const what = "members"
	third := r.s.opts.MemberTTL / 3
	backoff := follow.Backoff{Min: 100 * time.Millisecond, Max: min(third, 5*time.Second)}
	for {
		timer := time.NewTimer(third - rand.N(third/5)) // spread: many processes start at once
		select {
		case <-timer.C:
		case <-r.ctx.Done():
			timer.Stop()
			return
		}
		for {
			more, err := r.refresh()
			if err == nil && !more {
				r.s.health.Forget(what) // nobody was asked
				return
			}
			if err == nil {
				r.s.health.Fine(what)
				backoff.Reset()
				break
			}
			if r.ctx.Err() != nil {
				return
			}
			r.s.health.Lost(what, err)
			if backoff.Wait(r.ctx) != nil {
				return
			}
		}
	}
}

// refresh reports whether there are members left.
func (r *holder) refresh() (more bool, err error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-r.ctx.Done():
		return false, r.ctx.Err()
	}
	members := r.due()
	if len(members) == 0 {
		return false, nil
	}
	taken, err := r.s.hold(r.ctx, "refresh", members)
	if err != nil {
		return true, err
	}
	r.report(members, taken)
	return true, nil
}

// report logs, once, who lost its id.
func (r *holder) report(members, taken []*held) {
	for _, h := range members {
		lost := slices.Contains(taken, h)
		if lost && !h.lost {
			r.s.opts.Logger.Warn("another process took the member's id: waiting for it", "backend", "redis", "addr", r.s.addr, "set", h.set, "id", h.id,
				"hint", "give each process its own id")
		}
		if !lost && h.lost {
			r.s.opts.Logger.Info("the member has its id back", "backend", "redis", "addr", r.s.addr, "set", h.set, "id", h.id)
		}
		h.lost = lost
	}
}
