package etcd

import (
	"context"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-msha/msha/metastore/internal/follow"
)

const (
	callTimeout = 5 * time.Second        // of one request of the session
	farewell    = 500 * time.Millisecond // of the request that takes the members out when the store closes
	verifyEvery = time.Minute            // that the entries are still there: somebody may delete one
)

// session keeps the members of one store in the server. One goroutine makes all its requests, one after another, so that what it knows of
// the server is in order; Join and leave only say what is wanted.
type session struct {
	store *Store
	wake  chan struct{}
	done  chan struct{}

	farewell time.Duration

	mu     sync.Mutex
	stays  []*stay // in order: an entry that is not wanted is removed before one of the same key is made
	ending bool

	// of the goroutine:
	lease     clientv3.LeaseID // 0: none
	alive     <-chan *clientv3.LeaseKeepAliveResponse
	stopAlive context.CancelFunc
}

func newSession(s *Store) *session {
	return &session{store: s, wake: make(chan struct{}, 1), done: make(chan struct{}), farewell: farewell}
}

func (n *session) add(st *stay) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ending {
		return false
	}
	n.stays = append(n.stays, st)
	n.rouse()
	return true
}

// drop says that the stay is not wanted any more.
func (n *session) drop(st *stay) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st.wanted = false
	n.rouse()
}

func (n *session) rouse() {
	select {
	case n.wake <- struct{}{}:
	default: // it is awake
	}
}

// wants returns the stays with what is wanted of them at this moment.
func (n *session) wants() (stays []*stay, wanted map[*stay]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	wanted = map[*stay]bool{}
	for _, st := range n.stays {
		wanted[st] = st.wanted
	}
	return slices.Clone(n.stays), wanted
}

func (n *session) forget(st *stay) {
	n.mu.Lock()
	n.stays = slices.DeleteFunc(n.stays, func(other *stay) bool { return other == st })
	n.mu.Unlock()
	close(st.gone)
}

// run makes the server have what is wanted until ctx ends.
func (n *session) run(ctx context.Context) {
	defer close(n.done)
	defer n.end()
	const what = "membership"
	health := n.store.health
	backoff := follow.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}
	for ctx.Err() == nil {
		n.checkLease()
		interrupted := n.store.link.interrupted()
		pending, err := n.settle(ctx)
		if err != nil {
			health.Lost(what, err)
			if backoff.Wait(ctx) != nil {
				return
			}
			continue
		}
		health.Fine(what)
		backoff.Reset()
		n.sleep(ctx, interrupted, pending)
	}
}

// sleep returns when there may be something to do.
func (n *session) sleep(ctx context.Context, interrupted <-chan struct{}, pending bool) {
	pause := verifyEvery
	if pending {
		pause = n.store.opts.MemberTTL
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-n.alive:
			if ok {
				continue // a heartbeat was answered
			}
			n.loseLease()
		case <-interrupted:
			n.unsettle()
		case <-timer.C:
			n.unsettle()
		case <-n.wake:
		case <-ctx.Done():
		}
		return
	}
}

// unsettle has all entries looked at again.
func (n *session) unsettle() {
	stays, _ := n.wants()
	for _, st := range stays {
		st.settled = 0
	}
}

// settle makes the server have what is wanted. It returns the first failure, after having tried everything, and whether some entry is
// another process's at present.
func (n *session) settle(ctx context.Context) (pending bool, err error) {
	stays, wanted := n.wants()
	for _, st := range stays {
		var failed error
		if wanted[st] {
			failed = n.put(ctx, st)
		} else {
			failed = n.remove(ctx, st)
		}
		pending = pending || st.taken
		if err == nil {
			err = failed
		}
	}
	if len(stays) == 0 && n.lease != 0 {
		n.revoke(ctx, callTimeout)
	}
	return pending, err
}

// end takes everything out when the store closes.
func (n *session) end() {
	n.mu.Lock()
	n.ending = true
	n.mu.Unlock()
	if n.lease != 0 && n.store.link.up() {
		n.revoke(context.Background(), n.farewell)
	}
	n.loseLease()
}
