package embedmq

import (
	"sort"
	"sync"
	"time"
)

// Clock is where the cluster takes its time from. Both methods are safe for concurrent use and do not block.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in a goroutine of the clock's choice once d has passed; stop prevents a call that has not begun.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

// ManualClock is a Clock that moves only when told to. The zero value is not valid, use NewManualClock.
type ManualClock struct {
	mu     sync.Mutex
	now    time.Time
	seq    int
	timers []*manualTimer
}

type manualTimer struct {
	due time.Time
	seq int
	f   func()
}

// NewManualClock starts at the given time; at the current time if it is zero.
func NewManualClock(start time.Time) *ManualClock {
	if start.IsZero() {
		start = time.Now()
	}
	return &ManualClock{now: start}
}

// Now implements Clock.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc implements Clock; f runs inside the Advance call that reaches its time.
func (c *ManualClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	t := &manualTimer{due: c.now.Add(d), seq: c.seq, f: f}
	c.timers = append(c.timers, t)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.remove(t)
	}
}

func (c *ManualClock) remove(t *manualTimer) bool {
	for i, x := range c.timers {
		if x == t {
			c.timers = append(c.timers[:i], c.timers[i+1:]...)
			return true
		}
	}
	return false
}

// Advance moves the clock, runs what came due in the order of its time, and returns when all of that has run. A negative d
// steps the clock back: nothing runs, and pending timers keep their absolute times.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(d)
	for {
		sort.Slice(c.timers, func(i, j int) bool {
			a, b := c.timers[i], c.timers[j]
			return a.due.Before(b.due) || a.due.Equal(b.due) && a.seq < b.seq
		})
		if len(c.timers) == 0 || c.timers[0].due.After(end) {
			break
		}
		t := c.timers[0]
		c.timers = c.timers[1:]
		if t.due.After(c.now) {
			c.now = t.due
		}
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}
