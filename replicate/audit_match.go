package replicate

import (
	"fmt"
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// AuditPosition is where an audit of one queue stands; a resumed audit starts from it. Only Audit reads and writes it.
type AuditPosition struct {
	Begun     bool   `json:"begun"`
	Next      int64  `json:"next"`      // replica offset to read
	End       int64  `json:"end"`       // end of the replica queue when the audit began
	OriginMin int64  `json:"originMin"` // what the origin queue held when the audit began
	OriginEnd int64  `json:"originEnd"` //
	Placed    bool   `json:"placed"`    // a copy was seen, so High is known
	High      int64  `json:"high"`      // one more than the highest origin offset among the copies
	Holes     []span `json:"holes"`     // origin offsets below High without a copy so far
	Run       span   `json:"run"`       // origin offsets of the repetition that is going on
	RunAt     int64  `json:"runAt"`     // replica offset of its first copy
	Lost      bool   `json:"lost"`      // copies right before what was read last are gone
	SinceLoss int    `json:"sinceLoss"` // copies seen after them
}

// span is the offsets from From to To-1.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

func (s span) size() int64 { return max(s.To-s.From, 0) }

func (s span) clip(from, to int64) span { return span{max(s.From, from), min(s.To, to)} }

// matcher compares a replica queue with its origin queue, copy by copy in the order of the replica queue. It does no I/O: the caller
// finds the original of each copy. Its memory is the holes and the listed findings.
type matcher struct {
	*QueueAudit
	in     *msha.Incarnations
	within AuditRange // To is set
	batch  int        // the longest repetition that passes as a repeated batch
	listed int
}

// maxHoles bounds the memory of a comparison of queues that have little to do with each other.
const maxHoles = 100_000

const (
	detailNoCopyEither = "expired at the origin, and there is no copy"
	detailOriginal     = "the original expired"
	detailCopy         = "the copy expired"
	detailPerhaps      = "the copy expired or is missing: what follows expired copies can be a repeated batch"
	detailLost         = "the copy is of a message that the origin has lost"
)

// identify finds the origin offset of a copy. wanted is false if there is nothing to compare it with; then that is reported already.
func (m *matcher) identify(c *remoting.Message) (offset int64, wanted bool) {
	o, err := msha.ParseOrigin(c.Properties[msha.PropertyOrigin])
	foreign := ""
	switch {
	case c.Properties[msha.PropertyOrigin] == "":
		foreign = "it has no origin"
	case err != nil:
		foreign = err.Error()
	case m.in.At(m.Queue, o.Offset) == o.OriginQueue:
		return o.Offset, o.Offset >= m.within.From && o.Offset < m.within.To
	case o.First() != m.Queue:
		foreign = "it is a copy of " + o.String()
	case o.Incarnation > m.in.Newest(m.Queue):
		foreign = "it is of an incarnation that nobody has raised: " + o.String()
	}
	if foreign != "" {
		m.foreign(c, -1, foreign)
		return 0, false
	}
	m.endRun()
	m.found(Lost, Finding{o.Offset, o.Offset + 1, c.QueueOffset, detailLost}, m.listed)
	return 0, false
}

func (m *matcher) foreign(c *remoting.Message, offset int64, detail string) {
	m.endRun()
	m.found(Foreign, Finding{offset, offset + 1, c.QueueOffset, detail}, m.listed)
}

// copiesLost says that copies are gone before the next one: what they were of is unknown, and not missing.
func (m *matcher) copiesLost() {
	m.endRun()
	m.Position.Lost, m.Position.SinceLoss = true, 0
}

// add takes the next copy. original is nil if the origin no longer holds it. ErrTooLarge if the queues have too little in common.
func (m *matcher) add(offset int64, c, original *remoting.Message) error {
	again := m.order(offset, c)
	if len(m.Position.Holes) > maxHoles {
		return msha.Errorf("replicate.audit", m.name(), "audit a smaller range", "replica queue is no ordered copy: %w: %d gaps", msha.ErrTooLarge, len(m.Position.Holes))
	}
	if original == nil {
		if !again {
			m.found(Expired, Finding{offset, offset + 1, c.QueueOffset, detailOriginal}, m.listed)
		}
		return nil
	}
	for _, f := range flaws(m.Queue.Unit, original, c) {
		m.found(f.kind, Finding{offset, offset + 1, c.QueueOffset, f.detail}, m.listed)
	}
	if again {
		return nil
	}
	m.Compared++
	m.Bytes += int64(len(original.Body))
	if m.First < 0 || offset < m.First {
		m.First = offset
	}
	m.Last = max(m.Last, offset)
	return nil
}

// order looks at where a copy stands; again is true if there was a copy of the same message before.
func (m *matcher) order(offset int64, c *remoting.Message) (again bool) {
	p := &m.Position
	if !p.Placed {
		p.Placed, p.High = true, m.start(offset)
	}
	if p.Lost {
		p.SinceLoss++
	}
	switch {
	case offset >= p.High:
		m.endRun()
		if skipped := (span{p.High, offset}); skipped.size() > 0 {
			m.skip(skipped)
		}
		p.High = offset + 1
	case m.fill(offset):
		m.endRun()
		m.found(Swapped, Finding{offset, offset + 1, c.QueueOffset, fmt.Sprintf("it stands behind offset %d", p.High-1)}, m.listed)
	default:
		if p.Run.To != offset || p.RunAt+p.Run.size() != c.QueueOffset {
			m.endRun()
			p.Run, p.RunAt = span{offset, offset}, c.QueueOffset
		}
		p.Run.To++
		again = true
	}
	return again
}

// start is the offset where copies should begin, as the first one is at offset.
func (m *matcher) start(offset int64) int64 {
	held := m.within.From
	if held == 0 {
		held = m.Position.OriginMin
	}
	return min(held, offset)
}

// skip notes that copies jump over some offsets. Right behind lost copies they may be among these: what follows a loss can be a
// repeated batch, which is older than what was lost.
func (m *matcher) skip(s span) {
	p := &m.Position
	if p.Lost && p.SinceLoss <= m.batch+1 {
		detail := detailCopy
		if p.SinceLoss > 1 {
			detail = detailPerhaps
		}
		m.found(Expired, Finding{s.From, s.To, -1, detail}, m.listed)
		return
	}
	p.Lost = false
	p.Holes = append(p.Holes, s)
}

// fill takes an offset out of the holes; false if it was in none.
func (m *matcher) fill(offset int64) bool {
	holes := m.Position.Holes
	i, _ := slices.BinarySearchFunc(holes, offset, func(h span, o int64) int {
		if h.To <= o {
			return -1
		}
		return 1
	})
	if i == len(holes) || holes[i].From > offset {
		return false
	}
	h := holes[i]
	rest := slices.DeleteFunc([]span{{h.From, offset}, {offset + 1, h.To}}, func(s span) bool { return s.size() == 0 })
	m.Position.Holes = slices.Replace(holes, i, i+1, rest...)
	return true
}

// endRun judges a repetition that is over.
func (m *matcher) endRun() {
	p := &m.Position
	if p.Run.size() == 0 {
		return
	}
	kind := Repeated
	if p.Run.size() > int64(m.batch) {
		kind = Doubled
	}
	m.found(kind, Finding{From: p.Run.From, To: p.Run.To, Replica: p.RunAt}, m.listed)
	p.Run = span{}
}

// finish draws the conclusions once all copies were seen.
func (m *matcher) finish() {
	p := &m.Position
	m.endRun()
	if !p.Placed {
		p.High = max(m.within.From, p.OriginMin)
		if gone := (span{p.High, min(m.within.To, p.OriginEnd)}); p.Lost && gone.size() > 0 {
			m.found(Expired, Finding{gone.From, gone.To, -1, detailCopy}, m.listed)
			p.High = gone.To
		}
	}
	for _, h := range p.Holes {
		if gone := h.clip(0, p.OriginMin); gone.size() > 0 {
			m.found(Expired, Finding{gone.From, gone.To, -1, detailNoCopyEither}, m.listed)
		}
		if missing := h.clip(p.OriginMin, m.within.To); missing.size() > 0 {
			m.found(Missing, Finding{missing.From, missing.To, -1, ""}, m.listed)
		}
	}
	p.Holes = nil
	m.Pending = span{max(p.High, p.OriginMin, m.within.From), min(m.within.To, p.OriginEnd)}.size()
	m.Finished = true
}
