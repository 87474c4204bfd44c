package main

import (
	"errors"
	"slices"
	"sync"
)

var (
	errFrozen   = errors.New("the database is frozen")
	errBusy     = errors.New("a transaction is open")
	errDraining = errors.New("the gateway is draining")
)

// database is what a unit's handler writes into. It is the evidence: each message must be in one database, once.
type database struct {
	mu     sync.Mutex
	frozen bool
	busy   int // attempts to freeze that find an open transaction
	rows   []string
}

// write stores what was processed; refused while the database is frozen.
func (d *database) write(row string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frozen {
		return errFrozen
	}
	d.rows = append(d.rows, row)
	return nil
}

// freeze refuses writes from now on.
func (d *database) freeze() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy > 0 {
		d.busy--
		return errBusy
	}
	d.frozen = true
	return nil
}

// thaw takes writes again; it may be repeated.
func (d *database) thaw() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.frozen = false
}

func (d *database) isFrozen() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.frozen
}

func (d *database) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.rows)
}

// gateway lets requests into a unit.
type gateway struct {
	mu       sync.Mutex
	draining bool
	inside   sync.WaitGroup
	send     func(city, key string) error
}

// accept produces one message, or refuses the request: the client tries the other unit then.
func (g *gateway) accept(city, key string) error {
	g.mu.Lock()
	if g.draining {
		g.mu.Unlock()
		return errDraining
	}
	g.inside.Add(1)
	g.mu.Unlock()
	defer g.inside.Done()
	return g.send(city, key)
}

// drain refuses new requests and waits for those inside; it may be repeated.
func (g *gateway) drain() {
	g.mu.Lock()
	g.draining = true
	g.mu.Unlock()
	g.inside.Wait()
}

// open accepts requests again; it may be repeated.
func (g *gateway) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = false
}
