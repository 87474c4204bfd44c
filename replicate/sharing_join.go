package replicate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-msha/msha"
)

// join enters the crew. It goes on until it succeeds or ctx ends: then it returns nil. On an unsafe store there is no crew: the stay has
// no lease.
func (s *sharing) join(ctx context.Context) *stay {
	failing := false
	for ctx.Err() == nil {
		st, err := s.tryJoin(ctx)
		if err == nil {
			s.log.Info("copying takes part in sharing", "member", st.Name, "session", st.Session, "slot", st.Slot, "members", len(s.seen.Members))
			return st
		}
		if errors.Is(err, msha.ErrUnsafe) {
			s.log.Warn("sharing is off, run one replicator for this origin only", "error", err)
			st = &stay{turn: newTurn()}
			st.turn.always = true
			return st
		}
		if !failing && ctx.Err() == nil {
			failing = true
			s.log.Warn("cannot take part in sharing, trying on", "error", err)
		}
		sleep(ctx, s.retry())
	}
	return nil
}

func (s *sharing) tryJoin(ctx context.Context) (*stay, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	st := &stay{turn: newTurn(), waiting: map[string]context.CancelFunc{}, member: member{
		Session: rand.Text()[:12], Name: fmt.Sprintf("%s/%d", host, os.Getpid()), Place: here(),
		Targets: s.opts.Targets, Topics: s.opts.Topics, Deny: s.opts.Deny,
	}}
	if s.opts.noPlace {
		st.Place = place{}
	}
	if err := s.takeSlot(ctx, st); err != nil {
		return nil, err
	}
	err = s.edit(ctx, func(c *crew) bool {
		if c.find(st.Session) == nil { // an attempt without answer may have been stored
			c.join(st.member)
		}
		for _, m := range c.Members {
			if m.Place.ended(st.Place) {
				c.died(m.Session)
			}
		}
		c.offer(s.offers())
		return true
	})
	if err != nil {
		s.release(ctx, st.held)
		return nil, err
	}
	return st, nil
}

// end drains everything, leaves the crew so that the others go on at once, and gives the lease back.
func (s *sharing) end(ctx context.Context, st *stay) {
	if s.seen.find(st.Session) == nil {
		st.turn.allow(time.Time{}) // removed: its positions are not the newest
	}
	s.stopAll()
	for _, cancel := range st.waiting {
		cancel()
	}
	st.wg.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*releaseTimeout)
	defer cancel()
	err := s.edit(ctx, func(c *crew) bool {
		listed := c.find(st.Session) != nil
		c.leave(st.Session)
		return listed
	})
	if err != nil {
		s.log.Debug("the crew was not told of leaving, the others wait for the lease to end", "error", err)
	}
	s.release(ctx, st.held)
	for _, p := range s.takeProofs() {
		s.release(ctx, p.held)
	}
}

// alone copies everything, without a lease and with care: the store is unsafe.
func (s *sharing) alone(ctx context.Context, st *stay) {
	for ctx.Err() == nil {
		s.mu.Lock()
		s.takesPart, s.members = true, 1
		for sh := range s.offered {
			if s.holdings[sh] == nil {
				s.holdings[sh] = newHolding(ctx, sh, st.turn)
			}
		}
		s.mu.Unlock()
		nudge(s.assigned)
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
}
