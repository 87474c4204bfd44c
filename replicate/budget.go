package replicate

import (
	"context"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/go-msha/msha/internal/remoting"
)

// budget is what all pipes of a process may hold of messages that were read and not yet stored at the target. Each pipe has an equal part,
// so that one that cannot send takes nothing away from the others, and may always do one pull. Safe for concurrent use.
type budget struct {
	total int
	pipes atomic.Int64
}

// share is the part of one pipe.
func (m *budget) share() int { return m.total / max(int(m.pipes.Load()), 1) }

// memoryOf is about what messages occupy.
func memoryOf(ms []remoting.Record) (n int) {
	for i := range ms {
		n += ms[i].Size() + int(unsafe.Sizeof(ms[i]))
	}
	return n
}

// account is what one session holds: one goroutine takes, another one gives back.
type account struct {
	share func() int
	freed chan struct{}

	mu   sync.Mutex
	held int
}

func newAccount(share func() int) *account {
	return &account{share: share, freed: make(chan struct{}, 1)}
}

// take waits until n more bytes are within the share, or nothing is held.
func (a *account) take(ctx context.Context, n int) error {
	for {
		a.mu.Lock()
		ok := a.held == 0 || a.held+n <= a.share()
		if ok {
			a.held += n
		}
		a.mu.Unlock()
		if ok {
			return ctx.Err()
		}
		select {
		case <-a.freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// add takes n bytes that are there already; give gives them back.
func (a *account) add(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held += n
}

func (a *account) give(n int) {
	a.add(-n)
	select {
	case a.freed <- struct{}{}:
	default:
	}
}
