package replicate

import (
	"fmt"
	"maps"
	"slices"

	"github.com/go-msha/msha"
)

// FindingKind says what an audit found at some origin offsets.
type FindingKind string

// The differences. A copy may have several.
const (
	Missing         FindingKind = "missing"  // no copy between copies, or before the first
	Doubled         FindingKind = "doubled"  // copied again, in a stretch that is longer than a repeated batch can be
	Swapped         FindingKind = "swapped"  // the copy stands behind the copy of a later message
	AlteredBody     FindingKind = "body"     // another body
	AlteredProperty FindingKind = "property" // a property that is another, or absent, or should not be there
	AlteredFlag     FindingKind = "flag"     // another flag, or compression bits that do not fit the body
	Foreign         FindingKind = "foreign"  // a message in the replica queue that is no copy of the origin queue's messages
)

// What is no difference, and said all the same.
const (
	Repeated FindingKind = "repeated" // a batch stored a second time, as after the kill of a replicator; consumers see it once
	Expired  FindingKind = "expired"  // the original or the copy is no longer kept, so they were not compared
	Lost     FindingKind = "lost"     // the origin lost the message after it was copied, and uses its offset again (msha.Incarnations)
)

// Differences lists the kinds that make a copy inexact, in the order of a verdict.
func Differences() []FindingKind {
	return []FindingKind{Missing, Doubled, Swapped, AlteredBody, AlteredProperty, AlteredFlag, Foreign}
}

// Finding is one stretch of origin offsets, from From to To-1.
type Finding struct {
	From    int64  `json:"from"` // -1: the message names no offset of this queue
	To      int64  `json:"to"`
	Replica int64  `json:"replica"` // offset of the first copy in the replica queue; -1: there is none
	Detail  string `json:"detail,omitempty"`
}

// String is for logs.
func (f Finding) String() string {
	s := fmt.Sprintf("offset %d", f.From)
	switch {
	case f.From < 0:
		s = fmt.Sprintf("replica offset %d", f.Replica)
	case f.To > f.From+1:
		s = fmt.Sprintf("offsets %d to %d", f.From, f.To-1)
	}
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// Findings are all findings of one kind: how many messages, and the first stretches.
type Findings struct {
	Count int64     `json:"count"`
	List  []Finding `json:"list"` // at most AuditOptions.Listed
}

// QueueAudit is the result for one origin queue and one target.
type QueueAudit struct {
	Queue    msha.OriginQueue         `json:"queue"` // incarnation 0
	Target   string                   `json:"target"`
	Replica  string                   `json:"replica"`         // topic/broker/id of the replica queue
	Compared int64                    `json:"compared"`        // origin messages whose copy was compared with them
	Bytes    int64                    `json:"bytes"`           // of their bodies, as stored
	First    int64                    `json:"first"`           // origin offsets of the first and the last one; -1: none
	Last     int64                    `json:"last"`            //
	Pending  int64                    `json:"pending"`         // messages in the range that were not copied when the audit began
	Finished bool                     `json:"finished"`        // everything was read
	Err      string                   `json:"error,omitempty"` // why it could not be
	Findings map[FindingKind]Findings `json:"findings"`
	Position AuditPosition            `json:"position"`
}

// AuditReport says how far copies are exact. It can be stored as JSON, and one that is not Finished can be given to a later Audit, which
// goes on where it ended.
type AuditReport struct {
	Origin   string       `json:"origin"`
	Finished bool         `json:"finished"` // every queue was read to the position at which the audit found it
	Queues   []QueueAudit `json:"queues"`   // ordered by queue and target
}

// Count is the number of messages with findings of the given kinds in all queues.
func (r *AuditReport) Count(kinds ...FindingKind) (n int64) {
	for _, q := range r.Queues {
		for _, k := range kinds {
			n += q.Findings[k].Count
		}
	}
	return n
}

// Exact reports whether every queue was read and nothing differs. What expired, was lost by the origin, is repeated or is not copied yet is no difference; the
// verdict has it.
func (r *AuditReport) Exact() bool { return r.Finished && r.Count(Differences()...) == 0 }

// Verdict is the result in one line.
func (r *AuditReport) Verdict() string {
	var compared, pending int64
	unread := 0
	for _, q := range r.Queues {
		compared += q.Compared
		pending += q.Pending
		if !q.Finished {
			unread++
		}
	}
	return fmt.Sprintf("audit: %d compared, %d missing, %d doubled, %d swapped, %d altered, %d foreign; %d repeated, %d expired, %d lost by the origin, %d not copied yet, %d of %d queues not finished",
		compared, r.Count(Missing), r.Count(Doubled), r.Count(Swapped), r.Count(AlteredBody, AlteredProperty, AlteredFlag), r.Count(Foreign),
		r.Count(Repeated), r.Count(Expired), r.Count(Lost), pending, unread, len(r.Queues))
}

func (r *AuditReport) clone() *AuditReport {
	c := *r
	c.Queues = make([]QueueAudit, len(r.Queues))
	for i := range r.Queues {
		c.Queues[i] = r.Queues[i].clone()
	}
	return &c
}

func (q QueueAudit) clone() QueueAudit {
	q.Findings = maps.Clone(q.Findings)
	for k, f := range q.Findings {
		f.List = slices.Clone(f.List)
		q.Findings[k] = f
	}
	q.Position.Holes = slices.Clone(q.Position.Holes)
	return q
}

// found counts a finding and lists it while there is room. One that continues the stretch before it, with the same detail, extends
// it.
func (q *QueueAudit) found(k FindingKind, f Finding, limit int) {
	if q.Findings == nil {
		q.Findings = map[FindingKind]Findings{}
	}
	all := q.Findings[k]
	all.Count += f.To - f.From
	if n := len(all.List); n > 0 && f.From >= 0 && all.List[n-1].To == f.From && all.List[n-1].Detail == f.Detail && (k == Missing || k == Expired || k == Lost) {
		all.List[n-1].To = f.To
	} else if n < limit {
		all.List = append(all.List, f)
	}
	q.Findings[k] = all
}

func (q *QueueAudit) name() string { return q.Queue.String() + " -> " + q.Target }
