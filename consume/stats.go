package consume

// Stats counts what an engine did since it was made.
type Stats struct {
	Started      int64 // handler runs, by message
	Succeeded    int64
	Failed       int64 // failed runs: a retry copy follows, or the dead-letter topic
	DeadLettered int64
	Skipped      int64 // acknowledged without processing: another unit's, done already, fenced
	Refused      int64 // retry copies closed and acknowledged
	Legacy       int64 // runs of retry copies from before the group was managed
	Reread       int64 // messages found by re-scans
	ResetBack    int64 // offset resets by operators that repeat nothing: facts decide, not offsets
	ResetSkipped int64 // messages in what offset resets by operators skipped, whoever's they were
	ResetRefused int64 // offset resets that were not carried out: beyond the end, or of retry queues
	Expired      int64 // messages of the unit's own routes that were gone before they could be processed
	Unrouted     int64 // messages no rule covers
	Waiting      int64 // messages that wait for facts, now
	Unfiltered   int64 // queues that were not read because their broker refused the group's SQL filter
}

// Stats returns the counters.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	stats := e.stats
	stats.Waiting = int64(len(e.parked))
	for _, items := range e.behind {
		stats.Waiting += int64(len(items))
	}
	return stats
}
