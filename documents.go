package msha

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// GetFresh reads a document linearizably, also where plain reads may be stale: by a compare-and-set that changes nothing (design
// section 5). ErrNotFound may still be stale there: create the documents whose absence would decide something beforehand. On such a store
// that is not Safe it is Get: what changes nothing could undo another's change there.
func GetFresh(ctx context.Context, store MetaStore, key string) (Document, error) {
	if fresh, ok := store.(FreshGetter); ok {
		return fresh.GetFresh(ctx, key)
	}
	for pause := (pause{}); ; {
		doc, err := store.Get(ctx, key)
		if err != nil || Safe(store) != nil {
			return doc, err
		}
		doc.Revision, err = store.Put(ctx, key, doc.Value, doc.Revision)
		if !errors.Is(err, ErrConflict) {
			return doc, err
		}
		if err := pause.wait(ctx); err != nil {
			return doc, err
		}
	}
}

// Update changes a document by compare-and-set: it reads it (revision 0 if there is none), has edit make the new value, and begins again
// if another writer was faster. It writes nothing if edit fails, whose error it returns, or makes the same value; before it believes
// either, it reads linearizably. So edit may be called several times.
func Update(ctx context.Context, store MetaStore, key string, edit func(old Document) ([]byte, error)) error {
	read, fresh := store.Get, false // a linearizable read may cost a write
	for pause := (pause{}); ; {
		old, err := read(ctx, key)
		if errors.Is(err, ErrNotFound) {
			old, err = Document{Key: key}, nil
		}
		if err != nil {
			return err
		}
		value, err := edit(old)
		switch {
		case err == nil && (old.Revision == 0 || !bytes.Equal(value, old.Value)):
			if _, err := store.Put(ctx, key, value, old.Revision); !errors.Is(err, ErrConflict) {
				return err
			}
		case fresh:
			return err
		}
		read, fresh = func(ctx context.Context, key string) (Document, error) { return GetFresh(ctx, store, key) }, true
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// pause paces attempts after conflicts: the first at once, for a store whose reads are stale keeps showing the revision it refuses.
type pause struct{ next time.Duration }

func (p *pause) wait(ctx context.Context) error {
	timer := time.NewTimer(p.next)
	defer timer.Stop()
	p.next = min(2*p.next+time.Millisecond, 50*time.Millisecond)
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
