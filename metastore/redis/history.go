package redis

import (
	"github.com/go-msha/msha"
)

// changeSize is the length of a change's random id. The document keeps those of its last 16 changes, newest first.
const changeSize = 8

// history tells two documents of the same revision apart.
type history struct {
	lineage string // random id of the first change of all
	changes string // ids of the last changes, newest first
	at      uint64 // revision of the newest
}

func newChange() string { return newToken()[:changeSize] }

// change is the id of the newest change, "" if it has none.
func (h history) change() string { return h.changes[:min(changeSize, len(h.changes))] }

// follows reports whether h may be what became of an earlier one; it may be if the ids do not go back far enough.
func (h history) follows(earlier history) bool {
	if h.lineage != earlier.lineage {
		return false
	}
	if h.at < earlier.at || h.at-earlier.at >= uint64(len(h.changes)/changeSize) || earlier.change() == "" {
		return true
	}
	from := int(h.at-earlier.at) * changeSize
	return h.changes[from:from+changeSize] == earlier.change()
}

// checkHistory compares a document's history with what was known of it: another one may have come to any revision.
func (s *Store) checkHistory(name string, seen history) {
	if seen.lineage == "" {
		return
	}
	s.mu.Lock()
	known, ok := s.histories[name]
	follows := !ok || seen.follows(known)
	if !follows || seen.at >= known.at {
		s.histories[name] = seen
	}
	s.mu.Unlock()
	if !follows {
		s.health.MarkUnsafe(name, "the document has another history: the server lost accepted writes (failover, restart without persistence, eviction, flush, another server)")
	}
}

// changeOf is the id of the change that made a revision, "" if it is not known.
func (s *Store) changeOf(name string, revision msha.Revision) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.histories[name]; known.at == uint64(revision) {
		return known.change()
	}
	return ""
}
