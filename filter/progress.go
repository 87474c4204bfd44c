package filter

import (
	"maps"

	"github.com/go-msha/msha"
)

// Pulled says for each group how far it has pulled each queue, as far as that is published.
func (f *Facts) Pulled() map[string]map[msha.OriginQueue]int64 {
	all := map[string]map[msha.OriginQueue]int64{}
	for name, g := range f.groups {
		all[name] = maps.Clone(g.next)
	}
	return all
}

// Progress says how far the groups of the gaining unit are with what was handed over to a term. taken is how many of the messages that the
// old owner had pulled and left are dealt with: processed, or found to be of another route with the same history. pending is how many
// of what the gaining unit has pulled are still to be looked at; offline is the same of groups that nobody runs there now. What
// was pulled later than upTo says is not pending; nil: nothing was.
func (f *Facts) Progress(k Key, hash string, upTo map[string]map[msha.OriginQueue]int64, runs func(string) bool) (taken, pending, offline int64) {
	h := f.handed[handover{k, hash}]
	if h == nil {
		return 0, 0, 0
	}
	for gq, remaining := range h.spans {
		g := f.Group(gq.group)
		rest := remaining.Minus(g.Done(k, gq.queue)).Minus(g.Opens(k, gq.queue))
		end := g.Next(gq.queue)
		if upTo != nil {
			end = upTo[gq.group][gq.queue]
		}
		if left := rest.Below(end).Len(); runs(gq.group) {
			pending += left
		} else {
			offline += left
		}
		taken += remaining.Below(h.pulled[gq]).Len() - rest.Below(h.pulled[gq]).Len()
	}
	return taken, pending, offline
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
