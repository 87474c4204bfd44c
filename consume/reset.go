package consume

import (
	"slices"
	"sort"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// move is what it means that a queue is to be read on at another offset.
type move int

const (
	stays   move = iota // it is read there
	expired             // what lies between is gone
	cutOff              // the broker lost its tail
	skips               // an operator gave up what lies between
	repeats             // an operator wants what was read before once more
	beyond              // an operator names an offset that is not there
)

// moved tells why a queue that is read at an offset is to be read on at another one. Its messages are those from low to below high; reset
// says that the broker speaks of an operator's reset.
func moved(at, low, high, to int64, reset bool) move {
	switch {
	case to == at:
		return stays
	case !reset && to < at: // as if it was an operator's, it would be asked for without end
		return cutOff
	case !reset && at < low:
		return expired
	case to < at:
		return repeats
	case to > high:
		return beyond
	}
	return skips
}

// OnRequest takes what a broker asks of the client: the notice that a group's members changed, and an operator's reset of its offsets. It
// does not block; the result, if any, is the answer.
func (e *Engine) OnRequest(req *remoting.Command) *remoting.Command {
	switch req.Code {
	case remoting.ReqNotifyConsumerIDsChanged:
		if req.Ext["consumerGroup"] == e.set.group {
			e.poke(e.notify)
		}
	case remoting.ReqResetConsumerOffset:
		r, err := remoting.DecodeReset(req)
		if err != nil {
			e.cfg.Logger.Error("offset reset cannot be read: nothing is changed", "topic", req.Ext["topic"], "error", err)
			return req.Reply(remoting.RespSystemError, err.Error())
		}
		if r.Group == e.set.group {
			e.mu.Lock()
			defer e.mu.Unlock()
			for q, to := range r.Offsets {
				// Of a queue that a reset does not concern, RocketMQ 4 says what is committed.
				if h := e.queues[q]; h != nil && to != h.committed {
					e.ask(h, to)
				}
			}
		}
		return req.Reply(remoting.RespSuccess, "")
	}
	return nil
}

// ask has a queue's reader carry out a reset, also if its buffer is full; the lock is held.
func (e *Engine) ask(h *held, to int64) {
	h.asked = to
	e.poke(h.room)
}

const notAsked = -1

// wished is the offset of a reset that is not carried out yet.
func (e *Engine) wished(h *held) (to int64, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return h.asked, h.asked != notAsked
}

// mayCommit is false while a reset waits: what the operator has committed stays, for the next holder should this process die. Nor while the
// broker may have lost what was read, or has: an offset that it uses again must not count as read, and one must not be committed without the facts
// that it rests on. The lock is held.
func (h *held) mayCommit() bool {
	return h.open && h.asked == notAsked && !h.suspect && !h.lost && !h.unsaid && !h.log.suspect
}

const (
	hintReplay = "a replay is an operation of its own: POST /replay of the manager"
	hintSkip   = "if that was not meant: POST /replay of the manager processes them after all"
)

// carryOut does what an operator asks for. Facts decide what runs, not offsets: a reset to what was read before repeats nothing. One to
// what was not read skips what lies between, for this group in this unit and all later owners of the routes that the unit owns now.
func (e *Engine) carryOut(h *held, to int64) error {
	low, err := e.cfg.Cluster.MinOffset(h.ctx, h.queue)
	if err != nil {
		return err
	}
	high, err := e.cfg.Cluster.MaxOffset(h.ctx, h.queue)
	if err != nil {
		return err
	}
	at := h.next
	what := moved(at, low, high, to, true)
	var parts []msha.Incarnation
	if what == skips && h.home != "" {
		if parts, err = e.between(h, at, to); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.dropped || h.asked != to { // it is the next holder's, or there is another wish
		return nil
	}
	h.asked, h.committed = notAsked, -1 // what the broker has is the operator's, and put right with the next publication
	log := e.cfg.Logger.With("queue", h.queue.String())
	if what == stays { // it was opened there: the reset came before
		if read, known := e.readUpTo(h); known && to < read {
			what, at = repeats, read
		}
	}
	switch {
	case what == stays:
	case h.home == "":
		e.stats.ResetRefused++
		log.Error("offset reset refused: retry copies are neither skipped nor repeated", "from", at, "to", to, "hint", hintReplay)
	case what == repeats:
		e.stats.ResetBack++
		log.Warn("offset reset backwards: what was processed is not processed again", "from", at, "to", to, "hint", hintReplay)
	case what == beyond:
		e.stats.ResetRefused++
		log.Error("offset reset refused: it is beyond the end of the queue", "from", at, "to", to, "end", high, "hint", "reset it to an offset that is there")
	case e.passOver(h, parts, to):
		e.stats.ResetSkipped += to - at
		log.Error("offset reset forwards: messages skipped", "from", at, "to", to-1, "messages", to-at, "hint", hintSkip)
	}
	e.publishSoon()
	return nil
}

// passOver moves a queue's position; the lock is held. It is false if all that lies between was read already, or is filtered out.
func (e *Engine) passOver(h *held, parts []msha.Incarnation, to int64) (passed bool) {
	for _, part := range parts {
		e.tracker.Acquire(h.local, part.Queue, max(part.From, e.tracker.Facts().Next(part.Queue)))
		passed = e.tracker.PassOver(part.Queue, part.To) || passed
	}
	h.next = to
	if h.unit != "" && len(parts) > 0 && !h.originSeen {
		h.originSeen = true
		e.unsettle(h)
		e.poke(h.scan)
	}
	return passed
}

// between names what a queue holds from one of its offsets to another, by origin.
func (e *Engine) between(h *held, from, to int64) ([]msha.Incarnation, error) {
	if h.unit == "" {
		return h.in.Split(e.homeOrigin(h.queue), from, to), nil
	}
	low, err := e.cfg.Cluster.MinOffset(h.ctx, h.queue)
	if err != nil {
		return nil, err
	}
	var parts []msha.Incarnation
	for from = max(from, low); from < to; {
		last, _, ok, err := e.highest(h.ctx, h.queue, from, to)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		first := last
		n := sort.Search(int(to-from), func(i int) bool { // the first copy of the same incarnation
			o, ok, perr := e.copyBelow(h.ctx, h.queue, from, from+int64(i)+1)
			if perr != nil {
				err = perr
			}
			if same := ok && o.Incarnation >= last.Incarnation; same || err != nil {
				first = o
				return true
			}
			return false
		})
		if err != nil {
			return nil, err
		}
		parts = append(parts, msha.Incarnation{Queue: last.OriginQueue, From: min(first.Offset, last.Offset), To: last.Offset + 1})
		to = from + int64(n)
	}
	slices.Reverse(parts)
	return parts, nil
}

// readUpTo is how far the facts say that a queue was read, in its own offsets; the lock is held.
func (e *Engine) readUpTo(h *held) (read int64, known bool) {
	if h.home == "" || h.unit != "" {
		return e.tracker.Facts().Read(h.local)
	}
	return e.tracker.Facts().ReadUpTo(e.homeOrigin(h.queue), h.in)
}

// foreign tells whether somebody else has committed an offset, and where the group itself had come to. What lies between is skipped, as
// with a reset while the group runs: whoever has committed it says that it is dealt with.
func (e *Engine) foreign(h *held, committed int64) (read int64, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	read, known := e.readUpTo(h)
	return read, known && committed > read && !e.left[h.queue].lost
}

// published notes which positions are in the log.
func (e *Engine) published(positions map[remoting.Queue]filter.Record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for q, r := range positions {
		if h := e.queues[q]; h != nil {
			h.published = max(h.published, r.Next)
		}
	}
}

// positions are the records that precede the commits of one broker's replica queues; the lock is held. Of a home queue the facts of its messages say how far it
// was read, of a retry queue see commitAll.
func (e *Engine) positions(broker string) map[remoting.Queue]filter.Record {
	out := map[remoting.Queue]filter.Record{}
	for q, h := range e.queues {
		if q.Broker == broker && h.open && h.next > h.published && h.unit != "" {
			out[q] = filter.Record{Kind: filter.Done, Group: e.set.group, Local: h.local, Next: h.next}
		}
	}
	return out
}
