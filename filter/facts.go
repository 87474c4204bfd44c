package filter

import (
	"maps"
	"slices"

	"github.com/go-msha/msha"
)

// Facts is the fold of one unit's fact logs. Not safe for concurrent use.
type Facts struct {
	groups map[string]*GroupFacts
	acks   map[string]map[string]uint64 // client -> log -> highest version
}

// NewFacts is the fold of nothing.
func NewFacts() *Facts {
	return &Facts{groups: map[string]*GroupFacts{}, acks: map[string]map[string]uint64{}}
}

// Group returns the facts of one group, empty ones if the log does not mention it.
func (f *Facts) Group(name string) *GroupFacts {
	g := f.groups[name]
	if g == nil {
		g = newGroupFacts()
		f.groups[name] = g
	}
	return g
}

// Groups lists the groups the log mentions, sorted.
func (f *Facts) Groups() []string { return slices.Sorted(maps.Keys(f.groups)) }

// Apply folds one record of the log of one broker. Records of one log must come in its order; applying one twice changes nothing.
func (f *Facts) Apply(log string, r Record) {
	if r.Kind == Ack {
		if f.acks[r.Client] == nil {
			f.acks[r.Client] = map[string]uint64{}
		}
		f.acks[r.Client][log] = max(f.acks[r.Client][log], r.Version)
		return
	}
	f.Group(r.Group).apply(r)
}

// ApplyCopy folds a record of another unit's log: only where a group starts in that unit's queues counts.
func (f *Facts) ApplyCopy(r Record) {
	if r.Kind == Baseline && r.Set == "" {
		f.Group(r.Group).apply(r)
	}
}

// Acked is for each client the highest version it acknowledged in every one of the logs.
func (f *Facts) Acked(logs []string) map[string]uint64 {
	out := map[string]uint64{}
	for client, byLog := range f.acks {
		for i, log := range logs {
			if v := byLog[log]; i == 0 || v < out[client] {
				out[client] = v
			}
		}
	}
	return out
}

type termQueue struct {
	Key
	queue msha.OriginQueue
}

type handover struct {
	Key
	hash string
}

// attempts is the retry history of one message in one term.
type attempts struct {
	order  []string // numbers, as opened
	states map[string]*attempt
}

type attempt struct {
	open         Record
	sent, closed bool
}

// GroupFacts is what a unit recorded about one group.
type GroupFacts struct {
	baseline  map[msha.OriginQueue]int64
	next      map[msha.OriginQueue]int64
	remaining map[handover]map[msha.OriginQueue]Offsets
	done      map[termQueue]*Offsets
	opens     map[termQueue]map[int64]*attempts
	holds     map[LocalQueue]Record // unreleased
}

func newGroupFacts() *GroupFacts {
	return &GroupFacts{
		baseline: map[msha.OriginQueue]int64{}, next: map[msha.OriginQueue]int64{}, remaining: map[handover]map[msha.OriginQueue]Offsets{},
		done: map[termQueue]*Offsets{}, opens: map[termQueue]map[int64]*attempts{}, holds: map[LocalQueue]Record{},
	}
}

func (g *GroupFacts) apply(r Record) {
	switch r.Kind {
	case Baseline:
		g.applyBaseline(r)
	case Done:
		g.next[r.Queue] = max(g.next[r.Queue], r.Next)
		if r.Set != "" {
			for _, s := range r.Spans {
				g.cover(r.Key(), r.Queue, s.From, s.To)
			}
		}
	case Open, Sent, Close:
		g.applyAttempt(r)
	case Hold:
		g.holds[r.Local] = r
	case Release:
		if g.holds[r.Local].Writer == r.Writer {
			delete(g.holds, r.Local)
		}
	case Snapshot:
		for _, inner := range r.Records {
			g.apply(inner)
		}
	}
}

func (g *GroupFacts) applyBaseline(r Record) {
	if r.Set == "" {
		if _, known := g.baseline[r.Queue]; !known {
			g.baseline[r.Queue] = r.Offset
		}
		return
	}
	h := handover{r.Key(), r.Hash}
	if g.remaining[h] == nil {
		g.remaining[h] = map[msha.OriginQueue]Offsets{}
	}
	if r.Queue.Topic != "" { // without a queue the record only says that the hand-over took place
		g.remaining[h][r.Queue] = r.Spans
	}
}

func (g *GroupFacts) applyAttempt(r Record) {
	tq := termQueue{r.Key(), r.Queue}
	if g.opens[tq] == nil {
		g.opens[tq] = map[int64]*attempts{}
	}
	a := g.opens[tq][r.Offset]
	if a == nil {
		a = &attempts{states: map[string]*attempt{}}
		g.opens[tq][r.Offset] = a
	}
	s := a.states[r.Number]
	if s == nil {
		s = &attempt{}
		a.states[r.Number] = s
		a.order = append(a.order, r.Number)
	}
	switch r.Kind {
	case Open:
		s.open = r
	case Sent:
		s.sent = true
	case Close:
		s.closed = true
	}
}

// cover adds [from, to) to the Done of a term.
func (g *GroupFacts) cover(k Key, q msha.OriginQueue, from, to int64) {
	tq := termQueue{k, q}
	if g.done[tq] == nil {
		g.done[tq] = &Offsets{}
	}
	g.done[tq].Add(from, to)
}

// Baseline is where the group starts in an origin queue.
func (g *GroupFacts) Baseline(q msha.OriginQueue) (int64, bool) {
	off, ok := g.baseline[q]
	return off, ok
}

// Next is the highest pull position published for an origin queue.
func (g *GroupFacts) Next(q msha.OriginQueue) int64 { return g.next[q] }

// Done is the coverage of a term.
func (g *GroupFacts) Done(k Key, q msha.OriginQueue) Offsets {
	if d := g.done[termQueue{k, q}]; d != nil {
		return *d
	}
	return nil
}

// HandedOver tells whether the log holds the hand-over that a term began with.
func (g *GroupFacts) HandedOver(k Key, hash string) bool {
	return g.remaining[handover{k, hash}] != nil
}

// Remaining is what a term has to process of an origin queue: what was handed over to it, or everything from the baseline on for a
// queue the hand-over does not mention, as in a first term. ok is false if it cannot be known yet.
func (g *GroupFacts) Remaining(k Key, hash string, q msha.OriginQueue) (o Offsets, ok bool) {
	if spans, mentioned := g.remaining[handover{k, hash}][q]; mentioned {
		return spans, true
	}
	low, ok := g.baseline[q]
	if !ok {
		return nil, false
	}
	return From(low), true
}

// OpenNumber is the number of the retry copy a message waits for; sent tells whether the copy is known to be stored.
func (g *GroupFacts) OpenNumber(k Key, o msha.Origin) (number string, sent, ok bool) {
	a := g.opens[termQueue{k, o.OriginQueue}][o.Offset]
	if a == nil || g.Done(k, o.OriginQueue).Contains(o.Offset) {
		return "", false, false
	}
	for i := len(a.order) - 1; i >= 0; i-- {
		if s := a.states[a.order[i]]; !s.closed && s.open.Kind == Open {
			return a.order[i], s.sent, true
		}
	}
	return "", false, false
}

// Opens is the set of offsets that wait for a retry copy.
func (g *GroupFacts) Opens(k Key, q msha.OriginQueue) Offsets {
	var out Offsets
	for off := range g.opens[termQueue{k, q}] {
		if _, _, open := g.OpenNumber(k, msha.Origin{OriginQueue: q, Offset: off}); open {
			out.Add(off, off+1)
		}
	}
	return out
}

// Unsent lists the Opens of a queue without Sent, in a stable order: their writers may be dead.
func (g *GroupFacts) Unsent(q msha.OriginQueue) []Record {
	var out []Record
	for tq, byOffset := range g.opens {
		if tq.queue != q {
			continue
		}
		for off := range byOffset {
			o := msha.Origin{OriginQueue: q, Offset: off}
			if n, sent, open := g.OpenNumber(tq.Key, o); open && !sent {
				out = append(out, byOffset[off].states[n].open)
			}
		}
	}
	slices.SortFunc(out, func(a, b Record) int {
		if c := compareKeys(a.Key(), b.Key()); c != 0 {
			return c
		}
		return int(a.Offset - b.Offset)
	})
	return out
}

// Holder is the unreleased Hold of a local queue.
func (g *GroupFacts) Holder(q LocalQueue) (Record, bool) {
	r, ok := g.holds[q]
	return r, ok
}

// Queues lists the origin queues the facts mention, sorted.
func (g *GroupFacts) Queues() []msha.OriginQueue {
	set := map[msha.OriginQueue]bool{}
	for q := range g.baseline {
		set[q] = true
	}
	for tq := range g.done {
		set[tq.queue] = true
	}
	for _, byQueue := range g.remaining {
		for q := range byQueue {
			set[q] = true
		}
	}
	return slices.SortedFunc(maps.Keys(set), compareQueues)
}
