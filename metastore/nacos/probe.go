package nacos

import (
	"context"
	"errors"

	"github.com/go-msha/msha"
)

const (
	probeKey     = "msha.probe"
	probeContent = "A client that connects publishes this text with a wrong md5, to see that Nacos refuses it. Leave it alone."
)

// probe verifies that documents can be read and written, and that a compare-and-set with a wrong md5 is refused. A server that refuses it
// writes no history row; the first one ever creates the document.
func (s *Store) probe(ctx context.Context) error {
	if _, err := s.query(ctx, probeKey); err != nil && !errors.Is(err, msha.ErrInvalid) { // the text has no header
		return err
	}
	if err := s.plant(ctx, probeKey, probeContent); err != nil {
		return err
	}
	accepted := true
	for attempt := 0; accepted && attempt < 2; attempt++ { // the first one may have been what created it
		var err error
		if accepted, err = s.publish(ctx, probeKey, probeContent, never, true); err != nil {
			return err
		}
	}
	if accepted {
		s.health.MarkUnsafe(probeKey, "the server ignores the md5 of a compare-and-set (casMd5), as r-nacos and the embedded storage before Nacos 2.2.1 do")
	}
	s.compares.Store(!accepted)
	return nil
}

// swaps says whether the server honours compare-and-set.
func (s *Store) swaps() bool { return s.compares.Load() }
