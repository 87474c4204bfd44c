package filter

import "iter"

// pageSize is how many offsets in a row share a page. Larger pages would cost more where a filter lets few messages through.
const pageSize = 16

// places are the messages of one queue that were pulled and have not left, by offset. Offsets come and go nearly in order, so neighbours are
// kept together: most look-ups end at the page that was asked for last. The zero value is empty.
type places struct {
	pages  map[int64]*page // by offset / pageSize
	recent *page
	spare  []*page // empty ones, to be used again
}

type page struct {
	number int64
	used   int
	slots  [pageSize]place
}

// place is a pulled message.
type place struct {
	there    bool
	running  bool
	buffered int32 // how often it was pulled and has not left
	flight
}

func (s *places) page(number int64) *page {
	if s.recent == nil || s.recent.number != number {
		p := s.pages[number]
		if p == nil {
			return nil
		}
		s.recent = p
	}
	return s.recent
}

// find is where a message is noted, nil if it is not.
func (s *places) find(off int64) *place {
	p := s.page(off / pageSize)
	if p == nil || !p.slots[off%pageSize].there {
		return nil
	}
	return &p.slots[off%pageSize]
}

// note is where a message is noted; a new place if it is not yet.
func (s *places) note(off int64) *place {
	p := s.page(off / pageSize)
	if p == nil {
		p = s.add(off / pageSize)
	}
	slot := &p.slots[off%pageSize]
	if !slot.there {
		slot.there = true
		p.used++
	}
	return slot
}

func (s *places) add(number int64) *page {
	var p *page
	if n := len(s.spare); n > 0 {
		p, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		p = &page{}
	}
	p.number = number
	if s.pages == nil {
		s.pages = map[int64]*page{}
	}
	s.pages[number], s.recent = p, p
	return p
}

// drop ends a place, if there is one.
func (s *places) drop(off int64) {
	p := s.page(off / pageSize)
	if p == nil || !p.slots[off%pageSize].there {
		return
	}
	p.slots[off%pageSize] = place{}
	if p.used--; p.used == 0 {
		delete(s.pages, p.number)
		s.recent, s.spare = nil, append(s.spare, p)
	}
}

// all are the places there are, in no order.
func (s *places) all() iter.Seq2[int64, *place] {
	return func(yield func(int64, *place) bool) {
		for _, p := range s.pages {
			for i := range p.slots {
				if p.slots[i].there && !yield(p.number*pageSize+int64(i), &p.slots[i]) {
					return
				}
			}
		}
	}
}
