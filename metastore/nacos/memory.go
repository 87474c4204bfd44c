package nacos

import (
	"context"
	"sync"
	"time"
)

// memory is what a store has seen of each document. Nacos may answer a read with an older version for a while; what is remembered keeps
// a reader from going back, and has the md5 that a compare-and-set needs.
type memory struct {
	mu   sync.Mutex
	keys map[string]*memo
}

type memo struct {
	newest state
	floor  uint64    // the current revision is not below: that of newest, or above one that a compare-and-set found outdated
	behind time.Time // since when each read has been below floor; zero: the last was not
	writer chan struct{}
}

func newMemory() *memory { return &memory{keys: map[string]*memo{}} }

func (m *memory) memo(key string) *memo {
	k := m.keys[key]
	if k == nil {
		k = &memo{writer: make(chan struct{}, 1)}
		m.keys[key] = k
	}
	return k
}

// write lets one writer of a document go at a time: the next one may find, without asking the server, that it came too late.
func (m *memory) write(ctx context.Context, key string) (done func(), err error) {
	m.mu.Lock()
	writer := m.memo(key).writer
	m.mu.Unlock()
	select {
	case writer <- struct{}{}:
		return func() { <-writer }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// newest returns the newest version seen, which may be none, and the lowest revision that can be current.
func (m *memory) newest(key string) (state, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.memo(key)
	return k.newest, k.floor
}

// saw records a version, and returns the newest one.
func (m *memory) saw(key string, s state) state {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.memo(key)
	if s.revision >= k.floor {
		k.behind = time.Time{}
	} else if k.behind.IsZero() {
		k.behind = time.Now()
	}
	if k.newest.known && s.revision < k.newest.revision {
		return k.newest
	}
	if s.raw != "" || !k.newest.known || k.newest.raw == "" { // an empty read does not make a seed unknown
		k.newest = s
	}
	k.floor = max(k.floor, s.revision)
	return k.newest
}

// outdated records that a version is not the current one, which must be a later one.
func (m *memory) outdated(key string, s state) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.memo(key)
	k.floor = max(k.floor, s.revision+1)
}

// behindFor says for how long reads have been older than what must be there.
func (m *memory) behindFor(key string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.memo(key); !k.behind.IsZero() {
		return time.Since(k.behind)
	}
	return 0
}

// confirmed records that a version is the current one, so that the floor before the question was too high if it was above.
func (m *memory) confirmed(key string, s state, floor uint64) {
	m.saw(key, s)
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.memo(key); k.floor == floor {
		k.floor, k.behind = k.newest.revision, time.Time{}
	}
}

// restart forgets what was seen: the server proved that a lower revision is current.
func (m *memory) restart(key string, s state) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.memo(key)
	k.newest, k.floor, k.behind = s, s.revision, time.Time{}
}
