package filter

import "github.com/go-msha/msha"

// Progress says how far the groups of the gaining unit are with what was handed over to a term: how many of the messages that the unit
// has pulled meanwhile were left by the old owner, and how many of them are still to be looked at.
func (f *Facts) Progress(k Key, hash string) (left, pending int64) {
	h := f.handed[handover{k, hash}]
	if h == nil {
		return 0, 0
	}
	for gq, remaining := range h.spans {
		g := f.Group(gq.group)
		pulled := remaining.Below(g.Next(gq.queue))
		left += pulled.Len()
		pending += pulled.Minus(g.Done(k, gq.queue)).Minus(g.Opens(k, gq.queue)).Len()
	}
	return left, pending
}

// NewestAck is the highest table version anybody acknowledged in the unit's log.
func (t *Tracker) NewestAck() (version uint64) {
	for _, byLog := range t.facts.acks {
		for _, v := range byLog {
			version = max(version, v)
		}
	}
	return version
}

// Attempts is how often a message has failed under a term, as far as its Opens tell.
func (t *Tracker) Attempts(k Key, o msha.Origin) (n int) {
	if h := t.mine.retries[termQueue{k, o.OriginQueue}][o.Offset]; h != nil {
		for _, number := range h.numbers {
			n = max(n, t.mine.numbers[number].open.Attempt)
		}
	}
	return n
}
