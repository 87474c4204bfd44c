package metastoretest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

// link is a client of a memory store over a connection that can be cut. The flaws are planted.
type link struct {
	*memory.Store

	mu     sync.Mutex
	up     chan struct{} // closed while connected
	down   chan struct{} // closed while cut
	flawed flaws
}

type flaws struct{ watchStops, watchRepeats, putRepeated, hangs, notAnnounced bool }

const linkTTL = 200 * time.Millisecond

func newLink(f flaws) *link {
	l := &link{Store: memory.New(), up: make(chan struct{}), down: make(chan struct{}), flawed: f}
	close(l.up)
	return l
}

func (l *link) harness() Harness {
	return Harness{
		Store: l, Members: l, Cut: l.cut, Outside: l.Store, MemberTTL: linkTTL,
		Restart: func() {
			heal := l.cut()
			time.Sleep(linkTTL / 4)
			heal()
		},
	}
}

func (l *link) cut() (heal func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = make(chan struct{})
	close(l.down)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		close(l.up)
		l.down = make(chan struct{})
	}
}

func (l *link) state() (up, down chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up, l.down
}

func (l *link) isCut() bool {
	_, down := l.state()
	select {
	case <-down:
		return true
	default:
		return false
	}
}

var errReset = errors.New("connection reset")

// ask fails like a call on a connection: no answer while it is cut, an error once it is not.
func (l *link) ask(ctx context.Context) error {
	if !l.isCut() {
		return ctx.Err()
	}
	up, _ := l.state()
	done := ctx.Done()
	if l.flawed.hangs {
		done = nil
	}
	select {
	case <-up:
		return errReset
	case <-done:
		return ctx.Err()
	}
}

func (l *link) Get(ctx context.Context, key string) (msha.Document, error) {
	if err := l.ask(ctx); err != nil {
		return msha.Document{}, err
	}
	return l.Store.Get(ctx, key)
}

func (l *link) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	return l.Get(ctx, key)
}

func (l *link) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if err := l.ask(ctx); err != nil {
		return 0, err
	}
	r, err := l.Store.Put(ctx, key, value, expect)
	if err != nil || ctx.Err() != nil {
		return r, err
	}
	if l.flawed.putRepeated { // the answer is on its way for long enough that a cut meets one
		time.Sleep(linkTTL / 4)
	}
	for l.flawed.putRepeated && l.isCut() {
		up, _ := l.state()
		<-up
		if r, err = l.Store.Put(context.WithoutCancel(ctx), key, value, expect); err != nil {
			return 0, err
		}
	}
	if err := l.ask(ctx); err != nil {
		return 0, err
	}
	return r, nil
}

func (l *link) Delete(ctx context.Context, key string, expect msha.Revision) error {
	if err := l.ask(ctx); err != nil {
		return err
	}
	return l.Store.Delete(ctx, key, expect)
}

// over delivers what arrives while the connection is up, and the newest once it is up again.
func over[V any](ctx context.Context, l *link, in <-chan V) <-chan V {
	out := make(chan V)
	go func() {
		defer close(out)
		var first *V
		for v := range in {
			cut := l.isCut()
			if up, _ := l.state(); cut {
				if l.flawed.watchStops {
					<-ctx.Done()
					return
				}
				select {
				case <-up:
				case <-ctx.Done():
				}
			}
			if first == nil {
				first = &v
			}
			send := []V{v}
			if cut && l.flawed.watchRepeats {
				send = append(send, *first)
			}
			for _, v := range send {
				select {
				case out <- v:
				case <-ctx.Done():
				}
			}
		}
	}()
	return out
}

func (l *link) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	if err := l.ask(ctx); err != nil {
		return nil, err
	}
	in, err := l.Store.Watch(ctx, key)
	if err != nil {
		return nil, err
	}
	return over(ctx, l, in), nil
}

func (l *link) WatchMembers(ctx context.Context, set string) (<-chan []msha.Member, error) {
	if err := l.ask(ctx); err != nil {
		return nil, err
	}
	in, err := l.Store.WatchMembers(ctx, set)
	if err != nil {
		return nil, err
	}
	return over(ctx, l, in), nil
}

// Join keeps the member alive from this end, and announces it again when it had expired.
func (l *link) Join(ctx context.Context, set string, m msha.Member) (func(context.Context) error, error) {
	if err := l.ask(ctx); err != nil {
		return nil, err
	}
	leave, err := l.Store.Join(ctx, set, m)
	if err != nil {
		return nil, err
	}
	joined, left := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for joined.Err() == nil {
			_, down := l.state()
			select {
			case <-down:
			case <-joined.Done():
				return
			}
			up, _ := l.state()
			select {
			case <-up:
				continue
			case <-joined.Done():
				return
			case <-time.After(linkTTL):
			}
			_ = leave(ctx)
			select {
			case <-up:
			case <-joined.Done():
				return
			}
			if !l.flawed.notAnnounced {
				leave, _ = l.Store.Join(ctx, set, m)
			}
		}
	}()
	return func(ctx context.Context) error {
		left()
		<-ended
		return leave(ctx)
	}, nil
}
