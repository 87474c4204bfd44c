package follow

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// topic follows one name while somebody watches it. The hub's mutex guards its fields.
type topic[T any] struct {
	hub    *Hub[T]
	name   string
	ctx    context.Context
	cancel context.CancelFunc
	due    chan struct{} // a read is wanted

	last       Version[T]
	generation uint64 // of last: 0 before the first version
	asked      uint64 // reads begun
	answered   uint64 // the latest read that was answered
	watchers   map[*watcher]struct{}
}

// watcher is one reader of a topic.
type watcher struct {
	wake chan struct{}
	from uint64 // the first read that began after it joined: an answer of an earlier one may be older than the watch
}

func newTopic[T any](h *Hub[T], name string) *topic[T] {
	t := &topic[T]{hub: h, name: name, due: make(chan struct{}, 1), watchers: map[*watcher]struct{}{}}
	t.ctx, t.cancel = context.WithCancel(h.ctx)
	return t
}

func (t *topic[T]) join() *watcher {
	w := &watcher{wake: make(chan struct{}, 1), from: t.asked + 1}
	t.watchers[w] = struct{}{}
	signal(t.due)
	return w
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // one is pending already
	}
}

// offer takes a version unless it is older than the last, and has it delivered if it is another one.
func (t *topic[T]) offer(v Version[T]) {
	if t.generation > 0 && v.At < t.last.At {
		return
	}
	if t.generation == 0 || !t.hub.same(t.last.Value, v.Value) {
		t.generation++
		t.wakeAll()
	}
	t.last = v
}

func (t *topic[T]) wakeAll() {
	for w := range t.watchers {
		signal(w.wake)
	}
}

func (t *topic[T]) run(wg *sync.WaitGroup) {
	wg.Go(t.subscribe)
	t.read()
}

// subscribe keeps a subscription alive. What changed while there was none is found by the read that a new one begins with.
func (t *topic[T]) subscribe() {
	what := "notices of " + t.name
	backoff := Backoff{Min: t.hub.opts.MinBackoff, Max: t.hub.opts.MaxBackoff}
	feed := Feed[T]{
		Seen: func(v Version[T]) { t.hub.Observe(t.name, v) },
		Changed: func() {
			t.hub.health.Fine(what)
			signal(t.due)
		},
	}
	defer t.hub.health.Forget(what)
	for {
		began := time.Now()
		err := t.hub.source.Subscribe(t.ctx, t.name, feed)
		if t.ctx.Err() != nil {
			return
		}
		t.hub.health.Lost(what, err)
		if time.Since(began) > t.hub.opts.MaxBackoff {
			backoff.Reset()
		}
		if backoff.Wait(t.ctx) != nil {
			return
		}
	}
}

// read reads when it is due, and from time to time.
func (t *topic[T]) read() {
	what := "reading " + t.name
	backoff := Backoff{Min: t.hub.opts.MinBackoff, Max: t.hub.opts.MaxBackoff}
	defer t.hub.health.Forget(what)
	for t.awaitDue() {
		for err := t.readOnce(); err != nil; err = t.readOnce() {
			if t.ctx.Err() != nil {
				return
			}
			t.hub.health.Lost(what, err)
			if backoff.Wait(t.ctx) != nil {
				return
			}
		}
		t.hub.health.Fine(what)
		backoff.Reset()
	}
}

// awaitDue is false once nobody watches any more.
func (t *topic[T]) awaitDue() bool {
	poll := time.NewTimer(time.Duration(float64(t.hub.opts.Poll) * (0.8 + 0.4*rand.Float64())))
	defer poll.Stop()
	select {
	case <-t.due:
	case <-poll.C:
	case <-t.ctx.Done():
	}
	return t.ctx.Err() == nil
}

func (t *topic[T]) readOnce() error {
	t.hub.mu.Lock()
	t.asked++
	number, before := t.asked, t.hub.newest[t.name]
	t.hub.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.ctx, t.hub.opts.Timeout)
	defer cancel()
	v, err := t.hub.source.Read(ctx, t.name)
	if err != nil {
		return err
	}
	t.hub.judge(t.name, before, v.At)
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	t.hub.newest[t.name] = max(t.hub.newest[t.name], v.At)
	t.offer(v) // not to a topic that followed this one: members have no At, by which it could refuse an older list
	t.answered = number
	t.wakeAll()
	return nil
}
