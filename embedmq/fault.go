package embedmq

import (
	"context"
	"sync"
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

// Fault says which requests go wrong and how. A request is affected by the first fault, in order of injection, that matches.
type Fault struct {
	Code   int                          // request code; 0 matches each
	Broker string                       // broker name, or NameServer; empty matches each
	Match  func(*remoting.Command) bool // nil matches each; called under the cluster's lock, must not call the cluster

	Delay             time.Duration // on the cluster's clock, before anything else happens; combines with the others
	Drop              bool          // the request vanishes; with StoredButTimedOut the answer does
	Error             int           // answered with this response code, not carried out
	StoredButTimedOut bool          // carried out, then answered with FLUSH_DISK_TIMEOUT

	Times int // affected requests, then the fault is spent; 0 means no limit
}

// Injected is a fault in place. Its methods are safe for concurrent use.
type Injected struct {
	c      *Cluster
	f      Fault
	hits   int // guarded by c.mu
	done   chan struct{}
	onHit  chan struct{} // closed and replaced at each hit
	gone   bool
	finish sync.Once
}

// Inject puts a fault in place. It takes effect before Inject returns.
func (c *Cluster) Inject(f Fault) *Injected {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := &Injected{c: c, f: f, done: make(chan struct{}), onHit: make(chan struct{})}
	c.faults = append(c.faults, i)
	return i
}

// Hits counts the requests affected so far.
func (i *Injected) Hits() int {
	i.c.mu.Lock()
	defer i.c.mu.Unlock()
	return i.hits
}

// Wait blocks until the fault was hit Times times, once if Times is 0. It gives the context's error, or nil also when the
// cluster closes.
func (i *Injected) Wait(ctx context.Context) error {
	for {
		i.c.mu.Lock()
		enough, ch := i.hits >= max(i.f.Times, 1), i.onHit
		i.c.mu.Unlock()
		if enough {
			return nil
		}
		select {
		case <-ch:
		case <-i.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Remove takes the fault away; requests it delays stay delayed.
func (i *Injected) Remove() {
	i.c.mu.Lock()
	defer i.c.mu.Unlock()
	i.drop()
}

func (i *Injected) drop() {
	i.gone = true
	for n, f := range i.c.faults {
		if f == i {
			i.c.faults = append(i.c.faults[:n:n], i.c.faults[n+1:]...)
			return
		}
	}
}

func (i *Injected) wake() { i.finish.Do(func() { close(i.done) }) }

// fault gives the fault that affects a request, counted, or nil; the lock is held.
func (c *Cluster) fault(broker string, cmd *remoting.Command) *Fault {
	for _, i := range c.faults {
		f := &i.f
		if f.Code != 0 && f.Code != cmd.Code || f.Broker != "" && f.Broker != broker || f.Match != nil && !f.Match(cmd) {
			continue
		}
		i.hits++
		close(i.onHit)
		i.onHit = make(chan struct{})
		if f.Times > 0 && i.hits >= f.Times {
			i.drop()
		}
		return f
	}
	return nil
}
