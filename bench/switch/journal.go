//go:build unix

package main

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// journal is the evidence: the messages that producers got an answer for, and each run of a handler. Messages are numbered.
type journal struct {
	mu       sync.Mutex
	messages []message
	foreign  int // runs of what nobody sent
	watched  map[string][]run
	awaits   []*await
}

type message struct {
	sent, unsure bool      // unsure: nobody knows whether it was stored
	runs         int       // of handlers, which never fail here
	start, end   time.Time // of the first and of the last run
}

// run is one call of a handler for one message.
type run struct {
	unit       string
	start, end time.Time
}

// await is closed once all messages of a span were processed.
type await struct {
	span
	left int
	done chan struct{}
}

// span is the messages [from, to).
type span struct{ from, to int }

func (s span) len() int { return s.to - s.from }

// newJournal keeps the runs of some values' messages.
func newJournal(watched ...string) *journal {
	j := &journal{watched: map[string][]run{}}
	for _, value := range watched {
		j.watched[value] = nil
	}
	return j
}

// numbers reserves numbers for n messages.
func (j *journal) numbers(n int) span {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.messages = append(j.messages, make([]message, n)...)
	return span{len(j.messages) - n, len(j.messages)}
}

// answered notes what a producer was told.
func (j *journal) answered(s span, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := s.from; i < s.to; i++ {
		j.messages[i].sent, j.messages[i].unsure = ok, !ok
	}
}

func (j *journal) ran(id int, value string, r run) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if id < 0 || id >= len(j.messages) {
		j.foreign++
		return
	}
	m := &j.messages[id]
	m.end = r.end
	if m.runs++; m.runs == 1 {
		m.start = r.start
		for _, a := range j.awaits {
			if a.from <= id && id < a.to {
				if a.left--; a.left == 0 {
					close(a.done)
				}
			}
		}
		j.awaits = slices.DeleteFunc(j.awaits, func(a *await) bool { return a.left == 0 })
	}
	if runs, watched := j.watched[value]; watched {
		j.watched[value] = append(runs, r)
	}
}

// processed is closed once all messages of s were.
func (j *journal) processed(s span) <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := &await{span: s, done: make(chan struct{})}
	for _, m := range j.messages[s.from:s.to] {
		if m.runs == 0 {
			a.left++
		}
	}
	if a.left == 0 {
		close(a.done)
	} else {
		j.awaits = append(j.awaits, a)
	}
	return a.done
}

// worked is from the first start to the last end of what was processed of s.
func (j *journal) worked(s span) (first, last time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, m := range j.messages[s.from:s.to] {
		if m.runs == 0 {
			continue
		}
		if first.IsZero() || m.start.Before(first) {
			first = m.start
		}
		if m.end.After(last) {
			last = m.end
		}
	}
	return first, last
}

// count is what the journal proves.
type count struct{ sent, lost, repeated, foreign int }

func (c count) String() string {
	s := fmt.Sprintf("%d sent, %d lost, %d repeated", c.sent, c.lost, c.repeated)
	if c.foreign > 0 {
		s += fmt.Sprintf(", %d never sent", c.foreign)
	}
	return s
}

// wrong says whether something was lost or repeated, or came from nowhere.
func (c count) wrong() bool { return c.lost+c.repeated+c.foreign > 0 }

func (j *journal) count() count {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := count{foreign: j.foreign}
	for _, m := range j.messages {
		c.repeated += max(m.runs-1, 0)
		switch {
		case m.sent:
			c.sent++
			if m.runs == 0 {
				c.lost++
			}
		case !m.unsure && m.runs > 0:
			c.foreign++
		}
	}
	return c
}

// starts are the runs of each watched value in the order of their starts.
func (j *journal) starts() map[string][]run {
	j.mu.Lock()
	defer j.mu.Unlock()
	sorted := map[string][]run{}
	for value, runs := range j.watched {
		sorted[value] = slices.SortedFunc(slices.Values(runs), func(a, b run) int { return cmp.Or(a.start.Compare(b.start), a.end.Compare(b.end)) })
	}
	return sorted
}
