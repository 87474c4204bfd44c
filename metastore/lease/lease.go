package lease

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// ErrLost is wrapped by Check's error once a lease is not held any more.
var ErrLost = errors.New("lease lost")

// Lease is held from Acquire until it is lost or released; a lost lease does not come back, acquire a new one. It renews itself. Methods
// are safe for concurrent use.
type Lease struct {
	access
	generation uint64
	claim      claim // of the renewing goroutine; of Release once that has ended
	cancel     context.CancelFunc
	renewed    chan struct{} // closed when the renewing goroutine has ended
	lost       chan struct{}
	releasing  sync.Mutex // one call of Release at a time writes

	mu    sync.Mutex
	until time.Time   // end of trust on the local clock
	err   error       // why the trust ended; nil while it lasts
	stop  func() bool // of the timer for until
}

// hold starts the life of a lease that was just acquired.
func (c *contender) hold(until time.Time) *Lease {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Lease{
		access: c.access, generation: c.claim.doc.Generation, claim: c.claim,
		cancel: cancel, renewed: make(chan struct{}), lost: make(chan struct{}), until: until,
	}
	l.mu.Lock()
	l.arm()
	l.mu.Unlock()
	go l.renewing(ctx)
	return l
}

// Generation is the fencing token: larger than that of every earlier holder of the key.
func (l *Lease) Generation() uint64 { return l.generation }

// Check is nil while this process may trust that no other one holds the lease. Call it right before every guarded act; it does not ask
// the store. Otherwise the error wraps ErrLost, with ErrUnsafe if the store turned out to be unsafe; after Release it wraps ErrClosed.
func (l *Lease) Check() error {
	if err := msha.Safe(l.store); err != nil {
		l.lose(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire()
	return l.err
}

// Lost is closed when the trust ends, for whatever reason: by a local timer even if the store does not answer. A timer can be late, in a
// frozen process by any time, so Lost is for stopping early and Check is what decides.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Release ends the trust at once, then tells the others that they need not wait. Call it when the last guarded act has ended. It tries
// until the store answered, ctx ended or the TTL is over, after which there is nothing to tell; after an error the others wait for the
// TTL. Nil if the lease was lost to another holder, and when it is called again.
func (l *Lease) Release(ctx context.Context) error {
	l.end(msha.Errorf("lease.check", l.key, "", "lease %w", msha.ErrClosed))
	select {
	case <-l.renewed:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.releasing.Lock()
	defer l.releasing.Unlock()
	return l.giveBack(ctx)
}

// arm sets the timer to the end of trust. The lock is held.
func (l *Lease) arm() {
	l.stop = l.Clock.AfterFunc(l.until.Sub(l.Clock.Now()), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.expire(); l.err == nil {
			l.arm() // extended meanwhile, or the timer was early
		}
	})
}

// expire ends the trust if its time is over. The lock is held.
func (l *Lease) expire() {
	if l.err == nil && !l.Clock.Now().Before(l.until) {
		l.endLocked(msha.Errorf("lease.check", l.key, "check the metastore and its log lines",
			"%w: not renewed for TTL − margin = %v", ErrLost, l.TTL-l.Margin))
	}
}

// extend prolongs the trust. Trust that ended stays ended, even if nobody else took over: somebody may have been told.
func (l *Lease) extend(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.expire(); l.err == nil && until.After(l.until) {
		l.until = until // the timer looks at it when it fires
	}
}

func (l *Lease) lose(cause error) {
	l.end(msha.Errorf("lease.check", l.key, "", "%w: %w", ErrLost, cause))
}

func (l *Lease) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.endLocked(err)
	}
}

func (l *Lease) endLocked(err error) {
	l.err = err
	l.stop()
	l.cancel()
	close(l.lost)
	if errors.Is(err, ErrLost) {
		l.Logger.Warn("lease: lost", "key", l.key, "generation", l.generation, "error", err)
	}
}
