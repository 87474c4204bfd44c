package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/go-msha/msha"
)

// Acquire waits until holder has the lease under key, or ctx ends. It goes on through outages of the store, which it logs once. ctx ends
// the waiting only, not the lease. ErrUnsafe if compare-and-set on the store cannot be relied on, ErrInvalid if the document is none of a
// lease, ErrClosed if the store is closed.
func Acquire(ctx context.Context, store msha.MetaStore, key, holder string, o *Options) (*Lease, error) {
	c, err := newContender(store, key, holder, o)
	if err != nil {
		return nil, err
	}
	return c.wait(ctx)
}

// TryAcquire is Acquire that does not wait: ErrBusy, with the holder's name, if the lease is neither new nor released. A holder that
// died is not recognized at one look: only Acquire takes over from it.
func TryAcquire(ctx context.Context, store msha.MetaStore, key, holder string, o *Options) (*Lease, error) {
	c, err := newContender(store, key, holder, o)
	if err != nil {
		return nil, err
	}
	return c.try(ctx)
}

// contender wants the lease. It belongs to one goroutine.
type contender struct {
	access
	claim claim
	seen  sighting
}

func newContender(store msha.MetaStore, key, holder string, o *Options) (*contender, error) {
	d := o.withDefaults()
	if err := d.validate(key, holder); err != nil {
		return nil, err
	}
	return &contender{
		access: access{Options: d, store: store, key: key},
		claim: claim{
			doc:    document{Holder: holder, Session: rand.Text(), TTL: duration(d.TTL)},
			starts: map[uint64]time.Time{},
		},
	}, nil
}

// hopeless errors do not go away by waiting.
func hopeless(err error) bool {
	for _, sentinel := range []error{msha.ErrUnsafe, msha.ErrInvalid, msha.ErrClosed, msha.ErrTooLarge} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

func (c *contender) try(ctx context.Context) (*Lease, error) {
	for {
		held, wait, err := c.look(ctx)
		conflict := errors.Is(err, msha.ErrConflict)
		switch {
		case held != nil:
			return held, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && !conflict:
			return nil, err
		case wait > 0:
			return nil, msha.Errorf("lease.acquire", c.key, "", "%w: held by %s", msha.ErrBusy, c.seen.doc.Holder)
		}
		if _, err := c.sleep(ctx, nil, c.retry()); err != nil { // the read was stale
			return nil, err
		}
	}
}

func (c *contender) wait(ctx context.Context) (*Lease, error) {
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	var changes <-chan msha.Document
	failing := false
	for {
		held, wait, err := c.look(ctx)
		conflict := errors.Is(err, msha.ErrConflict)
		switch {
		case held != nil:
			return held, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case hopeless(err):
			return nil, err
		case err != nil && !conflict && !failing:
			failing = true
			c.Logger.Warn("lease: the store fails, waiting goes on", "key", c.key, "error", err)
		case err == nil && failing:
			failing = false
			c.Logger.Info("lease: the store answers again", "key", c.key)
		}
		if wait <= 0 || err != nil && !conflict {
			wait = c.retry()
		}
		if changes == nil {
			if ch, err := c.store.Watch(watching, c.key); err == nil {
				changes = ch
			} // otherwise time alone wakes it, until a later round opens the watch
		}
		if changes, err = c.sleep(ctx, changes, min(wait, c.Renew)); err != nil {
			return nil, err
		}
	}
}

// sleep ends after d, or with a newer document.
func (c *contender) sleep(ctx context.Context, changes <-chan msha.Document, d time.Duration) (<-chan msha.Document, error) {
	tick := make(chan struct{})
	defer c.Clock.AfterFunc(d, func() { close(tick) })()
	for {
		select {
		case doc, ok := <-changes:
			if !ok {
				changes = nil // reopened after d: a watch that ends at once must not make a busy loop
				continue
			}
			if doc.Revision > c.seen.revision {
				if got, err := c.parse(doc, false); err == nil { // an error is found and reported by the next look
					c.seen = c.rules.observe(c.seen, got, c.Clock.Now())
				}
				return changes, nil
			}
		case <-tick:
			return changes, nil
		case <-ctx.Done():
			return changes, ctx.Err()
		}
	}
}

// look reads the document and takes the lease if the rules allow it; otherwise it says how long they forbid it. After a failed Put it
// reads once more: the Put may have been stored.
func (c *contender) look(ctx context.Context) (*Lease, time.Duration, error) {
	if err := msha.Safe(c.store); err != nil {
		return nil, 0, err
	}
	held, wait, err := c.attempt(ctx)
	if unsafe := msha.Safe(c.store); unsafe != nil { // the store found out by an answer of the server
		if held != nil {
			held.lose(unsafe)
		}
		return nil, 0, unsafe
	}
	return held, wait, err
}

func (c *contender) attempt(ctx context.Context) (*Lease, time.Duration, error) {
	held, wait, err := c.see(ctx)
	if held != nil || err != nil || wait > 0 || msha.Safe(c.store) != nil {
		return held, wait, err
	}
	c.forget(&c.claim)
	c.claim.doc.Generation = c.rules.raise(c.seen.doc.Generation)
	until, putErr := c.put(ctx, &c.claim, c.seen.revision)
	if putErr == nil && c.Clock.Now().Before(until) {
		return c.hold(until), 0, nil
	}
	if hopeless(putErr) {
		return nil, 0, putErr
	}
	held, wait, err = c.see(ctx)
	if held != nil {
		return held, 0, nil
	}
	return nil, wait, errors.Join(putErr, err)
}

// see reads the document, and finds out whether an earlier attempt of this session was stored after all.
func (c *contender) see(ctx context.Context) (*Lease, time.Duration, error) {
	got, err := c.read(ctx)
	if err != nil {
		return nil, 0, err
	}
	now := c.Clock.Now()
	c.seen = c.rules.observe(c.seen, got, now)
	if c.seen.doc.Session == c.claim.doc.Session {
		c.claim.doc.Generation = c.seen.doc.Generation
		if until := c.adopt(&c.claim, c.seen.reading); now.Before(until) {
			return c.hold(until), 0, nil
		}
	}
	return nil, c.rules.wait(c.seen, c.claim.doc.Session, now, c.Margin), nil
}
