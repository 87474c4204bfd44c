package lease

import (
	"time"

	"github.com/go-msha/msha"
)

// reading is what one read showed.
type reading struct {
	doc      document
	revision msha.Revision // 0: there is no document
	fresh    bool          // the read was linearizable
}

// sighting is the newest revision a contender has seen, and since when on its own clock it has seen no other.
type sighting struct {
	reading
	since time.Time
}

// verdict is what a read says about a session's own attempts.
type verdict int

const (
	unknown verdict = iota // nothing new: not stored so far, or the read is stale
	stored                 // an attempt was stored
	lost                   // another session has the lease
)

// rules are the decisions of the protocol: pure functions of what a process knows. Tests replace one at a time to show that it is
// needed.
type rules struct {
	trust   func(start, end time.Time, ttl, margin time.Duration) time.Time
	observe func(s sighting, got reading, now time.Time) sighting
	wait    func(seen sighting, session string, now time.Time, margin time.Duration) time.Duration
	settle  func(session string, known msha.Revision, got reading) verdict
	raise   func(generation uint64) uint64
}

func production() *rules {
	return &rules{trust: trust, observe: observe, wait: wait, settle: settle, raise: raise}
}

// raise gives every acquisition its own generation, also one after a release.
func raise(generation uint64) uint64 { return generation + 1 }

// trust says until when a holder trusts itself after an attempt that ran from start to end. The end does not count: the store may have
// had the new revision, and a contender may have seen it, ever since the start.
func trust(start, _ time.Time, ttl, margin time.Duration) time.Time { return start.Add(ttl - margin) }

// wait says how long a contender still has to wait before it may take the lease; nothing if the result is not positive. What its own
// session wrote binds it to nobody: it asks before trusting it, and the session is in no one else's hands.
func wait(seen sighting, session string, now time.Time, margin time.Duration) time.Duration {
	if seen.revision == 0 || seen.doc.Released || seen.doc.Session == session {
		return 0
	}
	return seen.since.Add(time.Duration(seen.doc.TTL) + margin).Sub(now)
}

// settle judges a read made after an attempt that failed or had no answer. known is the newest revision the session knows to be its
// own. An older one than that is a stale read, unless the read was linearizable: then the store forgot what it had accepted, or the
// document was deleted.
func settle(session string, known msha.Revision, got reading) verdict {
	switch {
	case got.revision > known && got.doc.Session == session:
		return stored
	case got.revision > known, got.revision < known && got.fresh:
		return lost
	default:
		return unknown
	}
}

// observe is the sighting after another read, at now: after the read, since the revision may be as young as that.
func observe(s sighting, got reading, now time.Time) sighting {
	switch {
	case got.revision == s.revision && !s.since.IsZero():
		return s
	case got.revision < s.revision && !got.fresh: // stale
		return s
	default:
		return sighting{got, now}
	}
}
