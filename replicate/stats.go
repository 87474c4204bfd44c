package replicate

import (
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-msha/msha"
)

// Stats is what one replicator process has done since New, and what it does now.
type Stats struct {
	Copied        int64         // messages stored in replica queues
	Bytes         int64         // of their bodies and properties
	Batches       int64         // sends that stored them
	SendErrors    int64         // sends that failed; one without an answer may have been stored
	Interruptions int64         // times that copying of a queue was interrupted by an error and began again
	Gaps          int64         // ranges that expired uncopied and were skipped by policy
	Skipped       int64         // messages in them
	Raised        int64         // incarnations raised: queues whose origin lost its tail or was made anew
	LeaseLosses   int64         // times that this process lost its lease
	Limited       time.Duration // that sends waited for the rate limits, of all queues together

	Sharing bool // it takes part in sharing, or copies alone because the metastore cannot keep leases
	Members int  // processes that share the origin's work, this one included
	Shares  int  // topics' queues on one broker, each to one target, that this process copies
	Queues  int  // copies of queues in them that are known so far, one for each target
	Located int  // of those, how many know where to go on; the others do not copy yet
	Behind  int  // shares of which no queue is known yet
	Paused  []string
	Stopped []StoppedQueue // ordered by target and queue
}

// StoppedQueue is a queue that is not copied any more until somebody has looked at it.
type StoppedQueue struct {
	Queue  msha.OriginQueue
	Target string // unit
	Err    error
}

// Ready reports whether the process takes part in sharing and every queue of its shares is either located or stopped. One that has no
// share because there are more processes than work is ready.
func (s Stats) Ready() bool {
	return s.Sharing && s.Behind == 0 && s.Located+len(s.Stopped) >= s.Queues
}

// counters are the part of Stats that grows.
type counters struct {
	copied, bytes, batches, sendErrors, interruptions, gaps, skipped, raised, limited, leaseLosses atomic.Int64
}

// Stats looks at the replicator without asking anybody. It is cheap and does not block.
func (r *Replicator) Stats() Stats {
	c := &r.count
	s := Stats{
		Copied: c.copied.Load(), Bytes: c.bytes.Load(), Batches: c.batches.Load(), SendErrors: c.sendErrors.Load(),
		Interruptions: c.interruptions.Load(), Gaps: c.gaps.Load(), Skipped: c.skipped.Load(), Raised: c.raised.Load(),
		LeaseLosses: c.leaseLosses.Load(), Limited: time.Duration(c.limited.Load()),
	}
	r.mu.Lock()
	sharing := r.sharing
	for topic, on := range r.paused {
		if on {
			s.Paused = append(s.Paused, topic)
		}
	}
	r.mu.Unlock()
	slices.Sort(s.Paused)
	known := map[share]bool{}
	for _, p := range r.list("") {
		known[p.share()] = true
		s.Queues++
		_, located, err := p.state()
		switch {
		case isFinal(err):
			s.Stopped = append(s.Stopped, StoppedQueue{Queue: p.from, Target: p.unit, Err: err})
		case located:
			s.Located++
		}
	}
	if sharing != nil {
		sharing.stats(&s, known)
	}
	return s
}

// stats adds what the sharing knows; known are the shares that have pipes.
func (s *sharing) stats(out *Stats, known map[share]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Sharing, out.Members, out.Shares = s.takesPart, s.members, len(s.holdings)
	for sh := range maps.Keys(s.holdings) {
		if !known[sh] {
			out.Behind++
		}
	}
}

// counted notes a send.
func (p *pipe) counted(messages, bytes int, err error) {
	if err != nil {
		p.count.sendErrors.Add(1)
		return
	}
	p.count.copied.Add(int64(messages))
	p.count.bytes.Add(int64(bytes))
	p.count.batches.Add(1)
	p.sizes.add(float64(bytes) / float64(messages))
}

// meanSize is the mean size of a queue's messages, the last ones counting most. One goroutine adds, any may look.
type meanSize struct{ bits atomic.Uint64 }

func (m *meanSize) add(size float64) {
	if old := m.mean(); old > 0 {
		size = old + (size-old)/8
	}
	m.bits.Store(math.Float64bits(size))
}

// mean is 0 if nothing was added.
func (m *meanSize) mean() float64 { return math.Float64frombits(m.bits.Load()) }
