package lease

import (
	"context"
	"errors"
	"time"

	"github.com/go-msha/msha"
)

// access is one lease document in a store.
type access struct {
	Options
	store msha.MetaStore
	key   string
}

// claim is what a session knows of its own writes. One goroutine at a time uses it.
type claim struct {
	doc      document             // as written last
	revision msha.Revision        // the newest known to be its own; 0: none
	starts   map[uint64]time.Time // when the attempts began that are not known to be stored, by number
}

// bounded makes one call of the store within its time, by the local clock. A call that is given up fails without being ctx's error.
func (a *access) bounded(ctx context.Context, op string, call func(context.Context) error) error {
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.Clock.AfterFunc(a.call(), cancel)()
	err := call(bounded)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return msha.Errorf(op, a.key, "", "no answer from the metastore within %v", a.call())
	}
	return err
}

// read shows the document, linearizably where the store can.
func (a *access) read(ctx context.Context) (reading, error) {
	get, fresh := a.store.Get, false
	if f, ok := a.store.(msha.FreshGetter); ok {
		get, fresh = f.GetFresh, true
	}
	var d msha.Document
	err := a.bounded(ctx, "lease.read", func(ctx context.Context) (err error) {
		d, err = get(ctx, a.key)
		return err
	})
	if errors.Is(err, msha.ErrNotFound) {
		return reading{fresh: fresh}, nil
	}
	if err != nil {
		return reading{}, err
	}
	return a.parse(d, fresh)
}

func (a *access) parse(d msha.Document, fresh bool) (reading, error) {
	got := reading{revision: d.Revision, fresh: fresh}
	var err error
	if d.Revision != 0 {
		got.doc, err = decode(a.key, d.Value)
	}
	return got, err
}

// put writes the next version of the claim's document and returns until when its session may trust itself. After an error the attempt
// may have been stored, or be stored later: by a conflict too, where a driver repeated a request.
func (a *access) put(ctx context.Context, c *claim, expect msha.Revision) (until time.Time, err error) {
	c.doc.Attempt++
	c.starts[c.doc.Attempt] = a.Clock.Now()
	var revision msha.Revision
	err = a.bounded(ctx, "lease.write", func(ctx context.Context) (err error) {
		revision, err = a.store.Put(ctx, a.key, c.doc.encode(), expect)
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	return a.adopt(c, reading{doc: c.doc, revision: revision}), nil
}

// adopt notes that a document of the claim's session is stored, and returns until when the session may trust itself because of it: a
// time long past if the attempt is not remembered.
func (a *access) adopt(c *claim, got reading) (until time.Time) {
	start, remembered := c.starts[got.doc.Attempt]
	c.revision = got.revision
	for attempt := range c.starts {
		if attempt <= got.doc.Attempt {
			delete(c.starts, attempt) // older ones expected an older revision and can no longer be stored
		}
	}
	if !remembered {
		return time.Time{}
	}
	return a.rules.trust(start, a.Clock.Now(), a.TTL, a.Margin)
}

// forget drops attempts that would give no trust any more even if they turned out to be stored.
func (a *access) forget(c *claim) {
	now := a.Clock.Now()
	for attempt, start := range c.starts {
		if !now.Before(start.Add(a.TTL)) {
			delete(c.starts, attempt)
		}
	}
}
