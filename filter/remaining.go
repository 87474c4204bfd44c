package filter

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/go-msha/msha"
)

// HandOver is what terms have to process: records for every log of the unit that owns them.
type HandOver struct {
	Records []Record
	Hashes  map[string]string // by set
	Count   int64             // messages the losing unit had pulled and left, all groups together
	// Repeated bounds the messages that are processed twice: in a forced hand-over what the losing unit may have processed without anybody
	// knowing, in one for a unit that is back what it had dealt with in fact, in a replay what was asked for. Messages of other routes may be
	// among them.
	Repeated int64
}

// RemainingAfter computes the hand-over of moves that leave one unit: remaining' = remaining - Done, per group and origin queue. facts
// is the losing unit's log read to its end, and after that its copies of the other units' logs (ApplyCopy); table holds the moves' fence.
//
// A queue without a known baseline is not mentioned: nobody in the losing unit can have started any of it, so the next term begins it
// at its baseline, as a first term would. The same goes for a group that the losing unit's log does not mention. If the group had
// processed anything of the set in an earlier term elsewhere, the hand-over of that term would have named it here.
//
// ErrMissingFacts if a listed group has no facts, or if the hand-over that the ending term began with is not complete.
func RemainingAfter(facts *Facts, table *msha.Table, moves []msha.Move, listed []string) (*HandOver, error) {
	return remainingAfter(facts, table, moves, listed, nil, nil)
}

// Copied is what a gaining unit has of a unit that is not asked.
type Copied struct {
	Unit string
	// Ends is how far the queues of that unit are copied: the offset behind the last copy, and nothing where there is none.
	Ends map[msha.OriginQueue]int64
	// Pulled is how far a group of the gaining unit has pulled an origin queue.
	Pulled func(group string, q msha.OriginQueue) int64
	Units  []string // there are; nil: it is not known
	// Partial is true if facts that are missing are no error: a group without any begins at its baselines.
	Partial bool
}

func (c *Copied) partial() bool { return c != nil && c.Partial }

// misses tells whether it matters that a group's baseline is not known: a forced switch needs it where the group is listed and the queue's
// unit is there. A log may also tell of groups and units of the past.
func (c *Copied) misses(listed []string, group string, q msha.OriginQueue) bool {
	return c != nil && slices.Contains(listed, group) && (c.Units == nil || slices.Contains(c.Units, q.Unit))
}

// RemainingForced is RemainingAfter for a losing unit that is not asked: facts is what the gaining unit has of that unit's log, with its own
// log and the copies of others applied as copies. What the losing unit has not copied yet is held back: it may have processed it, and its
// log that says so is not there. RemainingRejoined gives it out once the unit is back.
func RemainingForced(facts *Facts, table *msha.Table, moves []msha.Move, listed []string, copied Copied) (*HandOver, error) {
	return remainingAfter(facts, table, moves, listed, &copied, nil)
}

// Knows tells whether there are facts of a group, of one queue at least.
func (f *Facts) Knows(group string) bool {
	return slices.Contains(f.Groups(), group) && len(f.Group(group).Queues()) > 0
}

func remainingAfter(facts *Facts, table *msha.Table, moves []msha.Move, listed []string, copied *Copied, again *Again) (*HandOver, error) {
	groups := facts.Groups()
	if copied.partial() {
		listed = nil
	}
	for _, name := range listed {
		if !facts.Knows(name) {
			return nil, msha.Errorf("switch.hand over", "group "+name, "start it once in this unit, or take it out of the unit document",
				"%w: a listed group has none in the unit's log", msha.ErrMissingFacts)
		}
	}
	out := &HandOver{Hashes: map[string]string{}}
	for _, m := range moves {
		set := table.Sets[m.NewSet]
		from := handover{KeyOf(set), set.RemainingHash}
		if !facts.handed.has(from) {
			return nil, msha.Errorf("switch.hand over", "route set "+m.NewSet, "did the unit's log lose its beginning?",
				"%w: the hand-over that term %d began with is not complete in the unit's log", msha.ErrMissingFacts, set.Term)
		}
		next := draft{key: Key{m.NewSet, m.Term + 1}, held: facts.handed.held(from)}
		if copied != nil {
			next.hold(copied.Unit)
		}
		for _, name := range groups {
			g := facts.Group(name)
			for _, q := range g.Queues() {
				remaining, known := g.Remaining(from.Key, from.hash, q)
				if !known && copied.misses(listed, name, q) && !g.Done(from.Key, q).Empty() {
					return nil, msha.Errorf("switch.hand over", "group "+name+", queue "+q.String(), "wait for the copy of the log of "+q.Unit,
						"%w: the losing unit has processed some of it, and where the group begins is not known here", msha.ErrMissingFacts)
				}
				if !known || g.heldBack(from, q) {
					continue
				}
				p := plannedPart{group: name, queue: q, left: remaining.Minus(g.Done(from.Key, q)), limit: facts.handed.limit(from, name, q), pulled: g.Next(q)}
				if copied != nil {
					out.Repeated += p.cutTo(copied)
				}
				out.Repeated += again.add(g, &p)
				out.Count += p.left.Below(p.pulled).Len()
				next.parts = append(next.parts, p)
			}
		}
		out.Hashes[m.NewSet] = next.into(out)
	}
	return out, nil
}

// RemainingRejoined computes what the routes that were taken from a unit by force have to process now that it is back: what it had not
// copied is added, and what it had processed is taken away. owner is the log of the unit that owns the sets now; lost is what is known of the
// unit that is back: its own log, read to its end after it has acknowledged that the sets are not its own, and copies of it, which may hold
// what the log has lost since.
//
// All sets have the same owner and a note of the unit, otherwise ErrConflict. ErrMissingFacts if a hand-over that the computation rests on is
// not complete.
func RemainingRejoined(owner *Facts, lost []*Facts, table *msha.Table, sets []string, unit string) (*HandOver, error) {
	out := &HandOver{Hashes: map[string]string{}}
	hashes := map[handover]string{} // parts of a split share what remains
	for _, id := range sets {
		set := table.Sets[id]
		now := handover{KeyOf(set), set.RemainingHash}
		term, forced := set.ForcedFrom(unit)
		if !forced {
			return nil, msha.Errorf("switch.rejoin", "route set "+id, "try again", "%w: unit %s is not away from it", msha.ErrConflict, unit)
		}
		if hash, done := hashes[now]; done {
			out.Hashes[id] = hash
			continue
		}
		r := rejoin{owner: owner, lost: lost, unit: unit, now: now, then: handover{Key{term.Set, term.Term}, term.RemainingHash}}
		if err := r.complete(id); err != nil {
			return nil, err
		}
		next := draft{key: now.Key, held: owner.handed.held(now)}
		next.release(unit)
		for _, group := range r.groups() {
			for _, q := range r.queues(group) {
				if p, known := r.part(group, q); known {
					out.Repeated += p.repeated
					next.parts = append(next.parts, p)
				}
			}
		}
		hashes[now] = next.into(out)
		out.Hashes[id] = hashes[now]
	}
	return out, nil
}

// rejoin computes what one term has to process once a unit is back.
type rejoin struct {
	owner     *Facts
	lost      []*Facts
	unit      string
	now, then handover // the term of today, and the one that was ended by force
}

func (r *rejoin) complete(id string) error {
	missing := func(name handover, in ...*Facts) error {
		if slices.ContainsFunc(in, func(f *Facts) bool { return f.handed.has(name) }) {
			return nil
		}
		return msha.Errorf("switch.rejoin", "route set "+id, "wait for the copies of the logs, or give the unit's facts up", "%w: the hand-over of term %d is complete in no log at hand",
			msha.ErrMissingFacts, name.Term)
	}
	if err := missing(r.now, r.owner); err != nil {
		return err
	}
	return missing(r.then, append(slices.Clone(r.lost), r.owner)...)
}

func (r *rejoin) groups() []string {
	all := r.owner.Groups()
	for _, f := range r.lost {
		all = append(all, f.Groups()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (r *rejoin) queues(group string) []msha.OriginQueue {
	all := r.owner.Group(group).Queues()
	for _, f := range r.lost {
		all = append(all, f.Group(group).Queues()...)
	}
	slices.SortFunc(all, compareQueues)
	return slices.Compact(all)
}

// part is what the term has to process of one queue; known is false if the queue is not to be mentioned. Where nobody knows where the group
// begins, nobody has started any of it.
func (r *rejoin) part(group string, q msha.OriginQueue) (p plannedPart, known bool) {
	mine := r.owner.Group(group)
	left, known := mine.Remaining(r.now.Key, r.now.hash, q)
	known = known && !mine.heldBack(r.now, q)
	p = plannedPart{group: group, queue: q, pulled: r.owner.handed.pulled(r.now, group, q), limit: r.owner.handed.limit(r.now, group, q)}
	var done, all Offsets
	begins := false
	for _, f := range append(slices.Clone(r.lost), r.owner) {
		g := f.Group(group)
		if had, ok := g.Remaining(r.then.Key, r.then.hash, q); ok && !g.heldBack(r.then, q) {
			all, begins = all.Union(had), true
		}
	}
	for _, f := range r.lost {
		theirs := f.Group(group)
		done = done.Union(theirs.Done(r.then.Key, q))
		if q.Unit == r.unit {
			p.pulled = max(p.pulled, theirs.Next(q))
		}
	}
	p.repeated = left.Intersect(done).Len()
	if q.Unit == r.unit {
		if !begins && known { // the unit's log has lost where the group begins
			all, begins = From(0), true
		}
		if begins {
			left, known = left.Union(all.Intersect(From(p.limit))), true
		}
		p.limit = 0
	} else if !known && begins { // nobody but the unit that is back knew where the group begins
		left, known = all, true
	}
	p.left = left.Minus(done)
	return p, known
}

// draft is a hand-over that is being put together.
type draft struct {
	key   Key
	held  []string
	parts []plannedPart
}

// plannedPart is what is handed over of one queue to one group.
type plannedPart struct {
	group         string
	queue         msha.OriginQueue
	left          Offsets
	limit, pulled int64
	repeated      int64
}

// cutTo holds back what is not copied; it returns how much of the rest may have been processed all the same.
func (p *plannedPart) cutTo(copied *Copied) int64 {
	known := copied.Pulled(p.group, p.queue)
	if p.queue.Unit == copied.Unit {
		p.limit = copied.Ends[p.queue]
		p.left = p.left.Below(p.limit)
		known = p.limit
	}
	return p.left.Below(known).Len()
}

func (d *draft) hold(unit string) {
	if !slices.Contains(d.held, unit) {
		d.held = append(d.held, unit)
		slices.Sort(d.held)
	}
}

func (d *draft) release(unit string) {
	d.held = slices.DeleteFunc(d.held, func(u string) bool { return u == unit })
}

// into appends the records of the hand-over and returns its hash.
func (d *draft) into(out *HandOver) string {
	record := Record{Kind: Baseline, Set: d.key.Set, Term: d.key.Term}
	rs := []Record{record}
	for _, unit := range d.held {
		r := record
		r.Queue.Unit = unit
		rs = append(rs, r)
	}
	for _, p := range d.parts {
		for i, spans := range p.left.pieces(maxSpans) {
			r := record
			r.Group, r.Queue, r.Spans, r.Chunk, r.Next, r.Offset = p.group, p.queue, spans, i, p.pulled, p.limit
			rs = append(rs, r)
		}
	}
	rs[0].Chunks = len(rs)
	sum := sha256.Sum256(EncodeRecords(rs))
	hash := hex.EncodeToString(sum[:12])
	for i := range rs {
		rs[i].Hash = hash
	}
	out.Records = append(out.Records, rs...)
	return hash
}
