package filter

// Lane is the order of one local queue of an ordered group: one message after the other, the lowest first, and none that was just pulled
// while messages before it may have to be read again (design section 7, Re-scan). So the first starts of a route ascend also where it
// moves between units. The zero value waits for a first re-scan. Not safe for concurrent use.
type Lane struct {
	asked, settled uint64 // settled: one more than asked was when the last complete re-scan began
	running        int
	stuck          bool // the lowest message cannot be decided about yet
}

// Unsettle says that something below the pull position may have become pending. What re-scans have lined up, and nobody has started, is
// to be forgotten (Tracker.Forget), and those under way are to end: there may be something below it now, which the next one reads first.
func (l *Lane) Unsettle() { l.asked++ }

// Scan begins a re-scan.
func (l *Lane) Scan() uint64 { return l.asked + 1 }

// Stale tells whether the queue was unsettled since a re-scan began.
func (l *Lane) Stale(scan uint64) bool { return scan <= l.asked }

// Settle ends a re-scan that has lined up all that was pending when it began. began and ended are what Tracker.Current was then: under a
// table for which it is 0 nothing seems to be pending.
func (l *Lane) Settle(scan, began, ended uint64) {
	if began == ended && began > 0 {
		l.settled = max(l.settled, scan)
	}
}

// Free tells whether the lowest message of the queue may be decided about. read is true for one that a re-scan has read.
func (l *Lane) Free(read bool) bool {
	return l.running == 0 && !l.stuck && (read || l.settled > l.asked)
}

// Start says that a message runs, End that its handler has ended and it is to be decided about again, or is finished.
func (l *Lane) Start() { l.running++ }

// End ends what Start began.
func (l *Lane) End() { l.running-- }

// Stick keeps later messages back until Unstick: the lowest one waits for facts.
func (l *Lane) Stick() { l.stuck = true }

// Unstick says that the lowest message is to be decided about again.
func (l *Lane) Unstick() { l.stuck = false }
