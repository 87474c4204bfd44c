package consume

import "github.com/go-msha/msha"

// reportNowhere names the queues whose messages wait because nobody has said where the group begins there: it does not run in their unit.
func (e *Engine) reportNowhere() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, it := range e.parked {
		if it.since.IsZero() || e.cfg.Now().Sub(it.since) < e.limits.begin || it.h.nowhere {
			continue
		}
		it.h.nowhere = true
		q := it.meta.Origin.OriginQueue
		e.cfg.Logger.Error("messages wait: where the group begins in their queue is not known", "queue", q.String(), "group", e.set.group, "error", msha.ErrMissingFacts,
			"hint", "start the group in "+q.Unit+" too; where it is not to run, the manager's POST /provision?unit="+q.Unit+"&group="+e.set.group+"&start=first says where it begins")
	}
}
