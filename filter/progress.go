package filter

// Progress says how far a group of the gaining unit is with what was handed over to a term: how many of the messages that the unit has
// pulled meanwhile were left by the old owner, and how many of them are still to be looked at.
func (f *Facts) Progress(k Key, hash string) (left, pending int64) {
	for _, g := range f.groups {
		for q, remaining := range g.remaining[handover{k, hash}] {
			pulled := remaining.Below(g.Next(q))
			left += pulled.Len()
			pending += pulled.Minus(g.Done(k, q)).Minus(g.Opens(k, q)).Len()
		}
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
