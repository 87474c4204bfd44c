package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/go-msha/msha"
)

// read reads the document linearizably; a missing one is an empty one.
func (s *sharing) read(ctx context.Context) error {
	doc, err := s.fresh(ctx)
	if err != nil {
		return err
	}
	return s.adopt(doc)
}

func (s *sharing) fresh(ctx context.Context) (msha.Document, error) {
	if err := msha.Safe(s.store); err != nil {
		return msha.Document{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.call())
	defer cancel()
	doc, err := msha.GetFresh(ctx, s.store, s.key)
	if errors.Is(err, msha.ErrNotFound) {
		return msha.Document{Key: s.key}, nil
	}
	return doc, err
}

// adopt takes over a document that was read or stored, unless a newer one is known.
func (s *sharing) adopt(doc msha.Document) error {
	if doc.Revision != 0 && doc.Revision <= s.revision {
		return nil
	}
	c, err := parseCrew(s.key, doc.Value)
	if err != nil {
		return err
	}
	s.seen, s.revision = c, max(s.revision, doc.Revision)
	return nil
}

// edit changes the document by compare-and-set. What change does not call changed is not written. An error means
// that the edit may have been stored, or be stored later: only the success of a later edit settles that, since both expect the same
// revision. So nobody acts on what an edit gave away, before an edit succeeded.
func (s *sharing) edit(ctx context.Context, change func(*crew) (changed bool)) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		doc, err := s.fresh(ctx)
		if err != nil {
			return err
		}
		c, err := parseCrew(s.key, doc.Value)
		if err != nil {
			return err
		}
		if !change(&c) {
			return s.adopt(doc)
		}
		c.Version++
		value, err := json.Marshal(c)
		if err != nil {
			return err
		}
		call, cancel := context.WithTimeout(ctx, s.call())
		revision, err := s.store.Put(call, s.key, value, doc.Revision)
		cancel()
		if err == nil {
			return s.adopt(msha.Document{Key: s.key, Value: value, Revision: revision})
		}
		if !errors.Is(err, msha.ErrConflict) {
			return err
		}
		sleep(ctx, pause)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
