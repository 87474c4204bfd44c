package nacos

import (
	"context"
	"sync"

	"github.com/go-msha/msha"
)

// lanes are the connections that carry members: Nacos keeps one instance per connection and service, so a second member of one set, in the
// same process, needs another connection.
type lanes struct {
	store  *Store
	ctx    context.Context // ends with the store
	cancel context.CancelFunc
	wg     sync.WaitGroup // seats being kept

	mu     sync.Mutex
	closed bool
	all    []*lane // the first one stays, and is the one that watches
	taken  map[seatKey]bool
}

type lane struct {
	link *link
	sets map[string]bool // that have a member here
}

type seatKey struct{ set, id string }

func newLanes(s *Store) *lanes {
	l := &lanes{store: s, taken: map[seatKey]bool{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *lanes) add() *lane {
	n := &lane{link: newLink(l.store.servers, moduleNaming, l.store.opts, l.store.login), sets: map[string]bool{}}
	l.all = append(l.all, n)
	return n
}

// first is the connection that watches, made when it is first wanted.
func (l *lanes) first() (*link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, msha.ErrClosed
	}
	if len(l.all) == 0 {
		l.add()
	}
	return l.all[0].link, nil
}

// take reserves an id of a set in this process, and a connection that has no member of the set.
func (l *lanes) take(k seatKey) (*lane, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, msha.ErrClosed
	}
	if l.taken[k] {
		return nil, taken(k)
	}
	l.taken[k] = true
	for _, n := range l.all {
		if !n.sets[k.set] {
			n.sets[k.set] = true
			return n, nil
		}
	}
	n := l.add()
	n.sets[k.set] = true
	return n, nil
}

// hold keeps a seat by running f, which close waits for; false if the store has closed.
func (l *lanes) hold(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Go(f)
	return true
}

// free gives back what take reserved; connections that nobody needs are closed.
func (l *lanes) free(k seatKey, n *lane) {
	l.mu.Lock()
	delete(l.taken, k)
	delete(n.sets, k.set)
	idle := len(n.sets) == 0 && len(l.all) > 1 && l.all[0] != n && !l.closed
	if idle {
		for i := range l.all {
			if l.all[i] == n {
				l.all = append(l.all[:i:i], l.all[i+1:]...)
				break
			}
		}
	}
	l.mu.Unlock()
	if idle {
		n.link.close()
	}
}

// close ends all memberships with their connections.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	all := l.all
	l.mu.Unlock()
	l.cancel()
	for _, n := range all {
		n.link.close()
	}
	l.wg.Wait()
}
