package replicate

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/lease"
)

// sharing divides the shares of one origin among the processes that copy from it: one lease per process, one document for all. run owns
// it; offer, holding and elsewhere are safe for concurrent use.
type sharing struct {
	store    msha.MetaStore
	key      string
	opts     *Options
	log      *slog.Logger
	retire   func(shares []share) // forgets the pipes of shares that ended and stores their positions; may block
	assigned chan<- struct{}      // told when there are shares to start pipes for
	wake     chan struct{}        // something was offered, drained or proved

	mu       sync.Mutex
	offered  map[share]bool
	holdings map[share]*holding
	others   map[share]bool // shares of other members, by the document
	proofs   []proof
	// for Stats
	takesPart bool // the document, or that there is none, was acted upon
	members   int
	count     *counters

	seen     crew // of run: the document as known last
	revision msha.Revision
}

// proof is the lease of another member's slot: that member's own has ended.
type proof struct {
	dead member
	held *lease.Lease
}

// stay is one membership of this process, from joining until it leaves or is removed.
type stay struct {
	member
	turn    *turn
	held    *lease.Lease
	waiting map[string]context.CancelFunc // for the ends of other members' leases, by session and slot
	wg      sync.WaitGroup
}

func crewKey(origin string) string { return "metadata.replicators." + origin }

func newSharing(origin string, store msha.MetaStore, o *Options, assigned chan<- struct{}, retire func([]share), count *counters) *sharing {
	return &sharing{
		store: store, key: crewKey(origin), opts: o, log: o.Logger.With("origin", origin), retire: retire, assigned: assigned,
		wake: make(chan struct{}, 1), offered: map[share]bool{}, holdings: map[share]*holding{}, count: count,
	}
}

// nudge tells a channel of capacity 1, which may know already.
func nudge(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// offer tells which shares exist.
func (s *sharing) offer(shares []share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := false
	for _, sh := range shares {
		if !s.offered[sh] {
			s.offered[sh], fresh = true, true
		}
	}
	if fresh {
		nudge(s.wake)
	}
}

// holding is the share as this process's own; nil if it is not, or is being given up.
func (s *sharing) holding(sh share) *holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.holdings[sh]; h != nil && h.active() {
		return h
	}
	return nil
}

// elsewhere reports whether another process copies the share.
func (s *sharing) elsewhere(sh share) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.others[sh]
}

// run takes part until ctx ends, then leaves.
func (s *sharing) run(ctx context.Context) {
	for ctx.Err() == nil {
		st := s.join(ctx)
		switch {
		case st == nil:
		case st.held == nil:
			s.alone(ctx, st)
		default:
			s.serve(ctx, st)
			s.parts(false, 0)
			s.end(ctx, st)
		}
		s.stopAll() // of alone
		s.parts(false, 0)
	}
}

// parts notes for Stats whether the process takes part, and with how many.
func (s *sharing) parts(takes bool, members int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takesPart, s.members = takes, members
}

// serve does what a member has to do, until it is one no more or ctx ends.
func (s *sharing) serve(ctx context.Context, st *stay) {
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	var changes <-chan msha.Document
	tick := time.NewTicker(s.opts.Lease / 3)
	defer tick.Stop()
	failing := false
	for ctx.Err() == nil {
		if changes == nil {
			changes, _ = s.store.Watch(watching, s.key) // a store out of reach is asked again at the next tick
		}
		again, err := s.reconcile(ctx, st)
		if ctx.Err() != nil || s.seen.find(st.Session) == nil {
			return
		}
		if err != nil != failing {
			failing = err != nil
			if failing {
				s.log.Warn("sharing: the metastore fails, copying goes on", "error", err)
			} else {
				s.log.Info("sharing: the metastore answers again")
			}
		}
		if again && err == nil {
			continue
		}
		select {
		case doc, ok := <-changes:
			if !ok {
				changes = nil
				sleep(ctx, s.retry()) // a watch that ends at once must not make a busy loop
				continue
			}
			if doc.Revision == 0 { // somebody deleted it, or the read was stale
				err = s.read(ctx)
			} else {
				err = s.adopt(doc)
			}
			if err != nil {
				s.log.Warn("sharing: the document could not be read", "error", err)
			}
		case <-st.held.Lost():
			if !s.regain(ctx, st) {
				return
			}
		case <-s.wake:
		case <-tick.C:
			if changes == nil {
				_ = s.read(ctx) // the next edit or tick reports
			}
		case <-ctx.Done():
		}
	}
}

// reconcile brings shares, pipes and document together. again says that the document changed.
func (s *sharing) reconcile(ctx context.Context, st *stay) (again bool, err error) {
	if s.seen.find(st.Session) == nil {
		return false, nil
	}
	drained := s.apply(ctx, st)
	s.watchOthers(ctx, st)
	var dead []string
	for _, m := range s.seen.Members {
		if !m.Dead && m.Place.ended(st.Place) {
			dead = append(dead, m.Session)
		}
	}
	offers, proofs := s.missing(), s.takeProofs()
	if len(offers)+len(proofs)+len(drained)+len(dead) == 0 {
		return false, nil
	}
	var gone []string
	err = s.edit(ctx, func(c *crew) (changed bool) {
		gone = nil
		for _, p := range proofs {
			if c.bury(p.dead) {
				gone = append(gone, p.dead.Name)
			}
		}
		for _, session := range dead {
			changed = c.died(session) || changed
		}
		if c.find(st.Session) != nil { // else it was removed meanwhile: then nothing is its own
			changed = c.hand(st.Session, drained) || changed
			changed = c.offer(offers) || changed
		}
		return changed || len(gone) > 0
	})
	if err != nil {
		s.giveBack(proofs)
		return false, err
	}
	s.forget(drained)
	for _, p := range proofs {
		s.release(ctx, p.held)
	}
	if len(gone) > 0 {
		s.log.Warn("replicators are gone, their work was taken over", "members", gone)
	}
	return true, nil
}
