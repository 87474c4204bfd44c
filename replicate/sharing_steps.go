package replicate

import "context"

// apply begins to hold what the document gives this process, and to drain what it has too much of. It returns the shares that are
// drained and can be handed over.
func (s *sharing) apply(ctx context.Context, st *stay) (drained []share) {
	surplus := map[share]bool{}
	for _, sh := range s.seen.surplus(st.Session) {
		surplus[sh] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = map[share]bool{}
	s.takesPart, s.members = true, s.seen.living()
	for _, sh := range s.seen.Shares {
		s.others[sh.share] = sh.Owner != "" && sh.Owner != st.Session
	}
	mine, news := map[share]bool{}, false
	for _, sh := range s.seen.owned(st.Session) {
		mine[sh] = true
		if s.holdings[sh] == nil && !surplus[sh] {
			s.holdings[sh], news = newHolding(ctx, sh, st.turn), true
		} else if s.holdings[sh] == nil {
			drained = append(drained, sh) // never begun
		}
	}
	for sh, h := range s.holdings {
		switch {
		case h.drained():
			drained = append(drained, sh)
		case surplus[sh] || !mine[sh]:
			h.stop(func() {
				s.retire([]share{sh})
				nudge(s.wake)
			})
		}
	}
	if news {
		nudge(s.assigned)
	}
	return drained
}

// forget drops holdings that were handed over.
func (s *sharing) forget(drained []share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range drained {
		delete(s.holdings, sh)
	}
}

func (s *sharing) offers() []share {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []share
	for sh := range s.offered {
		out = append(out, sh)
	}
	return out
}

// missing are shares that were offered and are not in the document.
func (s *sharing) missing() []share {
	listed := map[share]bool{}
	for _, sh := range s.seen.Shares {
		listed[sh.share] = true
	}
	var out []share
	for _, sh := range s.offers() {
		if !listed[sh] {
			out = append(out, sh)
		}
	}
	return out
}

func (s *sharing) takeProofs() []proof {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.proofs
	s.proofs = nil
	return out
}

// giveBack keeps proofs for the next attempt.
func (s *sharing) giveBack(proofs []proof) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proofs = append(s.proofs, proofs...)
}

// stopAll ends all pipes and stores their positions.
func (s *sharing) stopAll() {
	s.mu.Lock()
	all := s.holdings
	s.holdings = map[share]*holding{}
	s.mu.Unlock()
	var shares []share
	for sh, h := range all {
		h.stop(nil)
		shares = append(shares, sh)
	}
	for _, h := range all {
		<-h.ended
	}
	if len(shares) > 0 {
		s.retire(shares)
	}
}
