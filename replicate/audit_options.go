package replicate

import (
	"fmt"
	"log/slog"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// AuditRange is a range of origin offsets, from From to To-1.
type AuditRange struct {
	From int64 // 0: what both queues still hold
	To   int64 // 0: what is copied when the audit begins
}

// AuditOptions of Audit. The zero value is valid.
type AuditOptions struct {
	Targets  []string                        // units that hold copies; nil: every other unit of the unit document
	Topics   []string                        // patterns (path.Match) of topics; nil: every topic that is copied. One that matches none is an error
	Ranges   map[msha.OriginQueue]AuditRange // of queues (incarnation 0) that are not to be compared as a whole; the replica queue is read all the same
	Resume   *AuditReport                    // of an audit that did not finish: go on where it ended; nil: begin
	Page     int                             // most messages in one pull; 0: 256
	Parallel int                             // queues read at a time, each with one page of either side in memory, of at most 2 MiB unless a message is larger; 0: 4
	Batch    int                             // longest stretch of copies that passes as a repeated batch, as the replicators' BatchMessages; 0: 4096; negative: none, each repetition is Doubled
	Listed   int                             // findings listed per queue and kind, all are counted; 0: 100
	Patience time.Duration                   // how long a queue is tried that cannot be read, then it has Err; 0: until ctx ends
	Progress func(*AuditReport)              // called now and then and at the end, one call at a time, with a report that can be stored and resumed; nil: not called
	Every    time.Duration                   // least time between two calls of Progress; 0: 1 s
	Access   msha.AccessFunc                 // account and TLS of each unit's cluster; nil: no account, plain TCP
	Logger   *slog.Logger                    // nil: slog.Default()

	settle time.Duration // how long a restarted origin may hide messages; 0: 30 s
}

func (o *AuditOptions) withDefaults() AuditOptions {
	var d AuditOptions
	if o != nil {
		d = *o
	}
	if d.Page <= 0 {
		d.Page = 256
	}
	if d.Parallel <= 0 {
		d.Parallel = 4
	}
	if d.Batch == 0 {
		d.Batch = defaultBatch
	}
	d.Batch = max(d.Batch, 0)
	if d.Listed <= 0 {
		d.Listed = 100
	}
	if d.Every <= 0 {
		d.Every = time.Second
	}
	if d.Progress == nil {
		d.Progress = func(*AuditReport) {}
	}
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	if d.settle <= 0 {
		d.settle = 30 * time.Second
	}
	return d
}

// validate reports every problem.
func (o *AuditOptions) validate(origin string) error {
	var problems []string
	if slices.Contains(o.Targets, origin) {
		problems = append(problems, "the origin is among the targets")
	}
	for _, pattern := range o.Topics {
		if _, err := path.Match(pattern, ""); err != nil {
			problems = append(problems, fmt.Sprintf("topic pattern %q: %v", pattern, err))
		}
	}
	for q, r := range o.Ranges {
		if q.Unit != origin || q.Incarnation != 0 || r.From < 0 || r.To != 0 && r.To <= r.From {
			problems = append(problems, fmt.Sprintf("range %d to %d of %s", r.From, r.To, q))
		}
	}
	if o.Resume != nil && o.Resume.Origin != origin {
		problems = append(problems, "the report to resume is about "+o.Resume.Origin)
	}
	if len(problems) > 0 {
		return msha.Errorf("replicate.audit", origin, "", "%w: %s", msha.ErrInvalid, strings.Join(problems, "; "))
	}
	return nil
}

func (o *AuditOptions) within(q msha.OriginQueue) AuditRange {
	r := o.Ranges[q]
	if r.To == 0 {
		r.To = math.MaxInt64
	}
	return r
}
