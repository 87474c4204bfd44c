package filter

import "github.com/go-msha/msha"

// PassOver moves the pull position of a held queue up to to without pulling: an operator gave up what lies between. That is covered for
// every owned term, so that no later owner processes it either. What is being worked on, or waits for its retry, goes on. passed is false if
// the position was there already.
func (t *Tracker) PassOver(q msha.OriginQueue, to int64) (passed bool) {
	s := t.state(q)
	if s == nil || to <= s.next {
		return false
	}
	rest := Range(s.next, to).Minus(t.busy(q, s))
	for _, k := range t.owned {
		for _, span := range rest.Minus(t.mine.Opens(k, q)) {
			t.cover(s.log, k, q, span.From, span.To)
		}
	}
	s.next = to
	return true
}
