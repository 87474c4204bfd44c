package switchplan

import (
	"sync"
	"time"
)

// EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	EventBegun      EventKind = "begun"           // an executor works on an order: Moved
	EventPhase      EventKind = "phase"           // a phase or step begins
	EventPhaseEnded EventKind = "phase-ended"     // Result; Error if it failed
	EventWaiting    EventKind = "waiting"         // Text: for what, once per change
	EventApproval   EventKind = "approval-needed" // Text: how long it is waited for
	EventRetry      EventKind = "retry"           // a step failed and will be tried again: Error
	EventProgress   EventKind = "progress"        // of the take-over, once per change
	EventUndo       EventKind = "undo"            // a step is compensated; Error if that failed
	EventReopened   EventKind = "reopened"        // an abort gave the routes back to the old owner
	EventDone       EventKind = "done"            // Report; Error if the switch failed
	EventDropped    EventKind = "dropped"         // the reader was too slow and gets nothing more
)

// Event is something that happened in a switch of this process.
type Event struct {
	Seq      uint64       `json:"seq"` // grows by one with each event of a stream
	Kind     EventKind    `json:"kind"`
	At       time.Time    `json:"at"` // by this process's clock, for people
	Task     string       `json:"task,omitempty"`
	Phase    string       `json:"phase,omitempty"` // or step
	Text     string       `json:"text,omitempty"`
	Moved    []string     `json:"moved,omitempty"`
	Result   *PhaseAnswer `json:"result,omitempty"`
	Progress *Progress    `json:"progress,omitempty"`
	Report   *Answer      `json:"report,omitempty"`
	Error    string       `json:"error,omitempty"`
}

// Stream gives the events of a process's switches to any number of readers. Publishing never waits for a reader. The methods are safe for
// concurrent use and do not block.
type Stream struct {
	mu      sync.Mutex
	seq     uint64
	readers map[chan Event]struct{}
	closed  bool
}

// NewStream returns a stream without readers, for Options.Events.
func NewStream() *Stream { return &Stream{readers: map[chan Event]struct{}{}} }

// Subscribe returns the events from now on. A reader that is more than buffer events behind gets EventDropped, and the channel is closed;
// so it is, without that event, by cancel and by Close. cancel may be called several times.
func (s *Stream) Subscribe(buffer int) (events <-chan Event, cancel func()) {
	ch := make(chan Event, max(buffer, 1)+1) // one place is for the notice
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		close(ch)
		return ch, func() {}
	}
	s.readers[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.end(ch)
	}
}

// Close ends all subscriptions, and those to come. What is published later is lost.
func (s *Stream) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for ch := range s.readers {
		s.end(ch)
	}
}

func (s *Stream) end(ch chan Event) {
	if _, ok := s.readers[ch]; ok {
		delete(s.readers, ch)
		close(ch)
	}
}

func (s *Stream) publish(e Event) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	e.Seq, e.At = s.seq, time.Now()
	for ch := range s.readers {
		if len(ch) == cap(ch)-1 {
			ch <- Event{Seq: e.Seq, Kind: EventDropped, At: e.At, Text: "the reader is too slow; read the orders for what it missed"}
			s.end(ch)
			continue
		}
		ch <- e
	}
}
