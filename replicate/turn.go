package replicate

import (
	"context"
	"sync"
	"time"
)

// mode is how far a process may rely on being the only one that copies its shares.
type mode int

const (
	doubt   mode = iota // it may have been replaced: nothing is sent until the metastore was asked
	careful             // the metastore does not answer: it may send if nobody else does
	trusted             // its lease holds
)

// turn is the right of one stay in the crew to send; nil is one that nobody can take away. Safe for concurrent use.
type turn struct {
	mu      sync.Mutex
	lease   interface{ Check() error } // nil: there never was one
	until   time.Time                  // careful sends are allowed before, on the local clock
	always  bool                       // and without an end
	changed chan struct{}              // closed and replaced when there may be more right than before
}

func newTurn() *turn { return &turn{changed: make(chan struct{})} }

// hold trusts a lease from now on.
func (t *turn) hold(lease interface{ Check() error }) { t.change(func() { t.lease = lease }) }

// allow permits careful sends until a moment: what was learned by asking the metastore is true for a while only, because the process may
// freeze.
func (t *turn) allow(until time.Time) { t.change(func() { t.until = until }) }

func (t *turn) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	close(t.changed)
	t.changed = make(chan struct{})
}

// look says what may be done now.
func (t *turn) look() mode {
	m, _ := t.peek()
	return m
}

func (t *turn) peek() (mode, <-chan struct{}) {
	if t == nil {
		return trusted, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.lease != nil && t.lease.Check() == nil:
		return trusted, t.changed
	case t.always || time.Now().Before(t.until):
		return careful, t.changed
	}
	return doubt, t.changed
}

// wait blocks while nothing may be sent.
func (t *turn) wait(ctx context.Context) (mode, error) {
	for {
		m, changed := t.peek()
		if m != doubt {
			return m, ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return doubt, ctx.Err()
		}
	}
}

// pause waits until d is over or the lease is trusted.
func (t *turn) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		m, changed := t.peek()
		if m == trusted {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
