package filter

import (
	"slices"

	"github.com/go-msha/msha"
)

// queueState is an origin queue whose local queue this agent holds.
type queueState struct {
	queue    msha.OriginQueue
	log      string
	next     int64  // everything below was pulled
	messages places // pulled and not finished

	// What ended since the last fold: it is covered for every owned term, but not as kept for it.
	left Offsets
	kept map[Key]*Offsets
	done map[Key]*Offsets // what the folds of this generation have covered

	terms   []termState // what the facts of a version say of the terms in use
	version uint64
}

// termState is what the facts say of one term in one queue.
type termState struct {
	handover
	handed    bool    // all of the hand-over is there
	remaining Offsets // what the term has to process
	known     bool    // it is known
	done      *Offsets
}

// maxTerms bounds how many terms' facts are kept at hand.
const maxTerms = 64

func (s *queueState) add(off int64) { s.messages.note(off).buffered++ }

// forget takes a message out of the buffer once.
func (s *queueState) forget(off int64) {
	p := s.messages.find(off)
	if p == nil {
		return
	}
	if p.buffered--; p.buffered <= 0 && !p.running {
		s.messages.drop(off)
	}
}

// ended takes a started message out of what runs and of the buffer.
func (s *queueState) ended(off int64) (f flight, ok bool) {
	p := s.messages.find(off)
	if p == nil {
		return f, false
	}
	f, ok = p.flight, p.running
	p.running, p.flight = false, flight{}
	if p.buffered--; p.buffered <= 0 {
		s.messages.drop(off)
	}
	return f, ok
}

// keep says that what left is not covered for a term.
func (s *queueState) keep(k Key, off int64) {
	s.kept = add(s.kept, k, off, off+1)
}

// maxDone bounds the spans of done: what is lost with a broker's tail was stored recently.
const maxDone = 1 << 12

// did says that offsets are covered for a term by this generation.
func (s *queueState) did(k Key, from, to int64) {
	s.done = add(s.done, k, from, to)
	if done := s.done[k]; len(*done) > maxDone {
		*done = slices.Clone((*done)[maxDone/2:])
	}
}

func add(all map[Key]*Offsets, k Key, from, to int64) map[Key]*Offsets {
	if all == nil {
		all = map[Key]*Offsets{}
	}
	if all[k] == nil {
		all[k] = &Offsets{}
	}
	all[k].Add(from, to)
	return all
}

// keeps tells whether what left is not covered for a term.
func (s *queueState) keeps(k Key, off int64) bool {
	kept := s.kept[k]
	return kept != nil && kept.Contains(off)
}

// term is what the facts say of an owned term.
func (t *Tracker) term(s *queueState, k Key, hash string) *termState {
	if s.version != t.version || len(s.terms) >= maxTerms {
		s.terms, s.version = s.terms[:0], t.version
	}
	for i := range s.terms {
		if x := &s.terms[i]; x.Term == k.Term && x.Set == k.Set && x.hash == hash {
			return x
		}
	}
	x := termState{handover: handover{k, hash}, handed: t.mine.HandedOver(k, hash), done: t.mine.done[termQueue{k, s.queue}]}
	x.remaining, x.known = t.mine.Remaining(k, hash, s.queue)
	s.terms = append(s.terms, x)
	return &s.terms[len(s.terms)-1]
}

// fold brings what left a queue into the facts: that is too much work to do for each message.
func (t *Tracker) fold(s *queueState) {
	if s.left.Empty() {
		return
	}
	for _, k := range t.owned {
		spans := s.left
		if kept := s.kept[k]; kept != nil {
			spans = spans.Minus(*kept)
		}
		for _, span := range spans {
			s.did(k, span.From, span.To)
			t.cover(s.log, k, s.queue, span.From, span.To)
		}
	}
	s.left, s.kept = s.left[:0], nil
}

func (t *Tracker) foldAll() {
	for _, s := range t.queues {
		t.fold(s)
	}
}

// isDone tells whether a message is Done under an owned term.
func (t *Tracker) isDone(k Key, o msha.Origin) bool {
	if t.mine.Done(k, o.OriginQueue).Contains(o.Offset) {
		return true
	}
	s := t.state(o.OriginQueue)
	return s != nil && s.left.Contains(o.Offset) && !s.keeps(k, o.Offset)
}
