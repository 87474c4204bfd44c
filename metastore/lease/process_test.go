package lease

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// process has a clock of its own speed, can be frozen, and reaches the store over a bad network.
type process struct {
	world *world
	name  string
	rate  float64 // seconds of its clock per second
	ttl   time.Duration

	frozen time.Time // it does nothing before; guarded by world.mu

	mu   sync.Mutex
	rng  *rand.Rand
	seen msha.Document // what a stale server shows
}

func (p *process) Now() time.Time {
	return p.world.start.Add(time.Duration(float64(time.Since(p.world.start)) * p.rate))
}

// real is a reading of the process' clock on the common one.
func (p *process) real(t time.Time) time.Time {
	return p.world.start.Add(time.Duration(float64(t.Sub(p.world.start)) / p.rate))
}

func (p *process) AfterFunc(d time.Duration, f func()) func() bool {
	const late = 10 * time.Nanosecond // beyond what rounding makes too early
	return time.AfterFunc(time.Duration(float64(d)/p.rate)+late, func() {
		p.pass("frozen timers")
		f()
	}).Stop
}

// pass stands still while the process is frozen, the clock of which goes on.
func (p *process) pass(event string) {
	for {
		p.world.mu.Lock()
		rest := time.Until(p.frozen)
		if rest > 0 {
			p.world.events[event]++
		}
		p.world.mu.Unlock()
		if rest <= 0 {
			return
		}
		time.Sleep(rest)
	}
}

func (p *process) sleep(d time.Duration) {
	time.Sleep(d)
	p.pass("frozen acts")
}

func (p *process) upTo(n time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration(p.rng.Int64N(int64(n)))
}

// client is the process' view of the store, with or without linearizable reads.
func (p *process) client() msha.MetaStore {
	if p.world.stale {
		return network{p.world.store, p}
	}
	return freshNetwork{network{p.world.store, p}}
}

type network struct {
	msha.MetaStore
	p *process
}

type freshNetwork struct{ network }

var errOutage = errors.New("no answer")

// travel takes the time of half a call; some take long.
func (n network) travel(ctx context.Context) error {
	n.p.pass("frozen calls")
	d := n.p.upTo(100 * time.Millisecond)
	if n.p.upTo(10) == 0 {
		d = n.p.upTo(6 * time.Second)
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	n.p.pass("frozen calls")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	n.p.world.mu.Lock()
	defer n.p.world.mu.Unlock()
	if time.Now().Before(n.p.world.outage) {
		return errOutage
	}
	return nil
}

func (n network) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if err := n.travel(ctx); err != nil {
		return 0, err
	}
	switch n.p.upTo(12) {
	case 0:
		n.p.world.count("puts not stored")
		return 0, errOutage
	case 1:
		time.AfterFunc(n.p.upTo(20*time.Second), func() {
			if _, err := n.MetaStore.Put(context.Background(), key, value, expect); err == nil {
				n.p.world.count("puts stored late")
			}
		})
		return 0, errOutage
	}
	r, err := n.MetaStore.Put(ctx, key, value, expect)
	if errors.Is(err, msha.ErrConflict) {
		n.p.world.count("puts refused")
	}
	if travelErr := n.travel(ctx); travelErr != nil || n.p.upTo(12) == 0 {
		if err == nil {
			n.p.world.count("puts stored without answer")
		}
		return 0, errors.Join(errOutage, travelErr)
	}
	return r, err
}

func (n network) read(ctx context.Context, key string) (msha.Document, error) {
	if err := n.travel(ctx); err != nil {
		return msha.Document{}, err
	}
	d, err := n.MetaStore.Get(ctx, key)
	if travelErr := n.travel(ctx); travelErr != nil {
		return msha.Document{}, travelErr
	}
	return d, err
}

// Get may show what it showed before.
func (n network) Get(ctx context.Context, key string) (msha.Document, error) {
	d, err := n.read(ctx, key)
	n.p.mu.Lock()
	defer n.p.mu.Unlock()
	if err == nil && n.p.seen.Revision != 0 && n.p.seen.Revision != d.Revision && n.p.rng.IntN(3) == 0 {
		n.p.world.count("stale reads")
		return n.p.seen, nil
	}
	if err == nil {
		n.p.seen = d
	}
	return d, err
}

func (n freshNetwork) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	return n.read(ctx, key)
}

// Watch is late, and sometimes ends.
func (n network) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	in, err := n.MetaStore.Watch(ctx, key)
	if err != nil {
		return nil, err
	}
	out := make(chan msha.Document)
	go func() {
		defer close(out)
		for d := range in {
			if n.travel(ctx) != nil || n.p.upTo(20) == 0 {
				break
			}
			select {
			case out <- d:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}
