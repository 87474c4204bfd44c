// Package follow turns a server's reads and notices into the watches that msha.MetaStore and msha.Membership promise: subscribe, then
// read; newest always, older never, coalesced; bounded backoff while the server is down. The drivers share it, so that they differ only in
// how they ask their server.
package follow

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// Version is a value at one point of its history. At orders the versions of one name, deletions included; 0 is before all others.
type Version[T any] struct {
	Value T
	At    uint64
}

// Source asks the server. Methods are called concurrently for different names.
type Source[T any] interface {
	// Read returns the current version.
	Read(ctx context.Context, name string) (Version[T], error)
	// Subscribe calls feed.Changed once when notices are on their way, then a function of feed after every change, until the
	// subscription ends, which is an error, or ctx does.
	Subscribe(ctx context.Context, name string, feed Feed[T]) error
}

// Feed takes notices. Its functions do not block and are safe for concurrent use.
type Feed[T any] struct {
	Seen    func(Version[T]) // the notice carried the version
	Changed func()           // there may be a newer one: read
}

// Options of a Hub. Zero values stand for the defaults.
type Options struct {
	StaleReads bool          // the server's reads may be older than what was seen before: no sign of a lost history
	Poll       time.Duration // read again after this long without notice, ±20 %, for notices can be lost; default 1 min
	Timeout    time.Duration // of a read for the watches; default 10 s
	MinBackoff time.Duration // after a first failure, default 100 ms; doubled each time
	MaxBackoff time.Duration // default 5 s
}

func (o Options) withDefaults() Options {
	if o.Poll <= 0 {
		o.Poll = time.Minute
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.MinBackoff <= 0 {
		o.MinBackoff = 100 * time.Millisecond
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 5 * time.Second
	}
	return o
}

// Documents returns a hub for documents; one that does not exist has revision 0.
func Documents(source Source[msha.Document], health *Health, o Options) *Hub[msha.Document] {
	h := newHub(source, func(a, b msha.Document) bool { return a.Revision == b.Revision }, health, o)
	h.clone = func(d msha.Document) msha.Document {
		d.Value = bytes.Clone(d.Value)
		return d
	}
	return h
}

// Members returns a hub for sorted member lists. Their At may stay 0: reads of one set follow each other.
func Members(source Source[[]msha.Member], health *Health, o Options) *Hub[[]msha.Member] {
	h := newHub(source, sameMembers, health, o)
	h.clone = func(list []msha.Member) []msha.Member {
		list = slices.Clone(list)
		for i := range list {
			list[i].Metadata = maps.Clone(list[i].Metadata)
		}
		return list
	}
	return h
}

func sameMembers(a, b []msha.Member) bool {
	return slices.EqualFunc(a, b, func(a, b msha.Member) bool { return a.ID == b.ID && maps.Equal(a.Metadata, b.Metadata) })
}

// Hub serves the watches of one store: names are subscribed once, however many watch them. Methods are safe for concurrent use.
type Hub[T any] struct {
	source Source[T]
	same   func(a, b T) bool // no reason to deliver b after a
	clone  func(T) T         // every watch gets its own, to do with as it likes
	health *Health
	opts   Options

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	newest map[string]uint64 // per name ever seen: versions do not go back
	topics map[string]*topic[T]
}

func newHub[T any](source Source[T], same func(a, b T) bool, health *Health, o Options) *Hub[T] {
	h := &Hub[T]{source: source, same: same, health: health, opts: o.withDefaults(), newest: map[string]uint64{}, topics: map[string]*topic[T]{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Read reads from the server, and hands what it read to the watches. A version older than one seen before the read began is a lost
// history, and marks the store unsafe, unless its reads may be stale.
func (h *Hub[T]) Read(ctx context.Context, name string) (Version[T], error) {
	h.mu.Lock()
	before := h.newest[name]
	h.mu.Unlock()
	v, err := h.source.Read(ctx, name)
	if err == nil {
		h.judge(name, before, v.At)
		h.Observe(name, v)
	}
	return v, err
}

func (h *Hub[T]) judge(name string, before, at uint64) {
	if at < before && !h.opts.StaleReads {
		h.health.MarkUnsafe(name, fmt.Sprintf("revision went back from %d to %d: the server lost accepted writes (failover, restored backup)", before, at))
	}
}

// Observe hands over a version that was seen by other means, as the answer to a write.
func (h *Hub[T]) Observe(name string, v Version[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newest[name] = max(h.newest[name], v.At)
	if t := h.topics[name]; t != nil {
		t.offer(v)
	}
}

// Note says that a version exists whose value was not seen, as the refusal of a write does: no later read may be older.
func (h *Hub[T]) Note(name string, at uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newest[name] = max(h.newest[name], at)
}

// Newest is the highest At seen of a name.
func (h *Hub[T]) Newest(name string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newest[name]
}

// Watch delivers the current version first, then newer ones, coalesced, until ctx ends or the hub closes.
func (h *Hub[T]) Watch(ctx context.Context, name string) (<-chan T, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, msha.Errorf("metastore.watch", name, "", "metastore %w", msha.ErrClosed)
	}
	t := h.topics[name]
	if t == nil {
		t = newTopic[T](h, name)
		h.topics[name] = t
		h.wg.Go(func() { t.run(&h.wg) })
	}
	w := t.join()
	out := make(chan T)
	h.wg.Go(func() {
		defer close(out)
		defer h.leave(t, w)
		h.deliver(ctx, t, w, out)
	})
	return out, nil
}

// deliver passes the newest version on whenever it is another one than the last.
func (h *Hub[T]) deliver(ctx context.Context, t *topic[T], w *watcher, out chan<- T) {
	var last uint64
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		case <-h.ctx.Done():
			return
		}
		for {
			h.mu.Lock()
			v, generation, ready := t.last.Value, t.generation, t.answered >= w.from
			h.mu.Unlock()
			if !ready || generation == last {
				break
			}
			select {
			case out <- h.clone(v):
				last = generation
			case <-w.wake: // a newer one replaces what nobody has taken yet
			case <-ctx.Done():
				return
			case <-h.ctx.Done():
				return
			}
		}
	}
}

func (h *Hub[T]) leave(t *topic[T], w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(t.watchers, w)
	if len(t.watchers) == 0 && h.topics[t.name] == t {
		delete(h.topics, t.name)
		t.cancel()
	}
}

// Close ends all watches and waits for them.
func (h *Hub[T]) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
}

// Backoff paces attempts that fail: doubled each time up to a limit, with a random half so that many clients do not come at once.
type Backoff struct {
	Min, Max time.Duration

	next time.Duration
}

// Reset starts at Min again.
func (b *Backoff) Reset() { b.next = 0 }

// Wait blocks for the next pause, or until ctx ends and returns its error.
func (b *Backoff) Wait(ctx context.Context) error {
	b.next = min(max(2*b.next, b.Min), b.Max)
	timer := time.NewTimer(b.next/2 + rand.N(b.next/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
