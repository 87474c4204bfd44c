package replicate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/lease"
)

func (s *sharing) leaseOptions() *lease.Options {
	return &lease.Options{TTL: s.opts.Lease, Logger: s.opts.Logger}
}

// call bounds a request to the metastore while nothing may be sent, retry is the pause after a failed one.
func (s *sharing) call() time.Duration  { return s.opts.Lease / 6 }
func (s *sharing) retry() time.Duration { return s.opts.Lease / 15 }

// trust is for how long what the metastore said, or did not say, is relied on.
func (s *sharing) trust() time.Duration { return s.opts.Lease * 4 / 5 }

// takeSlot acquires a lease of a slot that is nobody's.
func (s *sharing) takeSlot(ctx context.Context, st *stay) error {
	if err := s.read(ctx); err != nil {
		return err
	}
	for slot := 0; ; slot++ {
		if s.seen.takes(slot) {
			continue
		}
		held, err := lease.TryAcquire(ctx, s.store, s.slotKey(slot), st.Name, s.leaseOptions())
		if errors.Is(err, msha.ErrBusy) {
			continue
		}
		if err != nil {
			return err
		}
		st.held, st.Slot, st.Generation = held, slot, held.Generation()
		st.turn.hold(held)
		return nil
	}
}

func (s *sharing) slotKey(slot int) string { return fmt.Sprintf("%s.%d", s.key, slot) }

// watchOthers waits for the lease of every other member: to get it is the proof that its holder may send no more.
func (s *sharing) watchOthers(ctx context.Context, st *stay) {
	listed := map[string]bool{}
	for _, m := range s.seen.Members {
		if m.Session == st.Session {
			continue
		}
		id := fmt.Sprint(m.Session, " ", m.Slot, " ", m.Generation)
		listed[id] = true
		if st.waiting[id] != nil {
			continue
		}
		waiting, cancel := context.WithCancel(ctx)
		st.waiting[id] = cancel
		st.wg.Go(func() {
			held, err := lease.Acquire(waiting, s.store, s.slotKey(m.Slot), st.Name, s.leaseOptions())
			if waiting.Err() != nil && err != nil {
				return
			}
			if err != nil {
				s.log.Error("another replicator's lease cannot be watched, its work is not taken over if it dies", "member", m.Name, "error", err)
				return
			}
			s.giveBack([]proof{{m, held}})
			nudge(s.wake)
		})
	}
	for id, cancel := range st.waiting {
		if !listed[id] {
			cancel()
			delete(st.waiting, id)
		}
	}
}

// regain is called when the lease was lost. It reports whether the process is a member still, with another lease; until the metastore
// tells, the pipes go on carefully.
func (s *sharing) regain(ctx context.Context, st *stay) bool {
	s.count.leaseLosses.Add(1)
	s.log.Warn("the lease is lost, copying pauses until the metastore was asked", "slot", st.Slot, "error", st.held.Check())
	failing := false
	for ctx.Err() == nil {
		start := time.Now()
		listed, err := s.tryRegain(ctx, st)
		if err == nil {
			return listed
		}
		st.turn.allow(start.Add(s.trust()))
		if !failing && ctx.Err() == nil {
			failing = true
			s.log.Warn("the metastore does not answer, copying goes on with care", "error", err)
		}
		sleep(ctx, s.retry())
	}
	return false
}

func (s *sharing) tryRegain(ctx context.Context, st *stay) (listed bool, err error) {
	if err := s.read(ctx); err != nil {
		return false, err
	}
	if s.seen.find(st.Session) == nil {
		return false, nil
	}
	another := &stay{member: st.member, turn: newTurn()}
	if err := s.takeSlot(ctx, another); err != nil {
		return false, err
	}
	err = s.edit(ctx, func(c *crew) bool {
		listed = c.move(st.Session, another.Slot, another.Generation)
		return listed
	})
	if err != nil || !listed {
		s.release(ctx, another.held)
		return false, err
	}
	s.release(ctx, st.held)
	st.member, st.held = another.member, another.held
	st.turn.hold(st.held)
	s.log.Info("copying goes on under a new lease", "slot", st.Slot)
	return true, nil
}

// releaseTimeout bounds what is told to the others; without it they wait for a lease's time.
const releaseTimeout = 2 * time.Second

func (s *sharing) release(ctx context.Context, held *lease.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if err := held.Release(ctx); err != nil {
		s.log.Debug("lease not released", "error", err)
	}
}
