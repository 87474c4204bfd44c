package replicate

import (
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// GapPolicy says what happens when messages expired at the origin before they were copied, or a queue there holds nothing of what was
// copied from it: its topic was recreated. One that has only lost its tail is copied on under either policy.
type GapPolicy int

// The policies.
const (
	Stop GapPolicy = iota // stop the queue with ErrGap
	Skip                  // report the range and go on with what there is
)

const (
	defaultLease  = 15 * time.Second
	defaultBatch  = 4096
	defaultMemory = 128 << 20
)

// Options of New. The zero value is valid.
type Options struct {
	Targets       []string      // units to copy to; nil: every other unit of the unit document
	Topics        []string      // patterns (path.Match) of topics to copy; nil: "*"
	Deny          []string      // patterns of topics not to copy
	Discover      time.Duration // how often topics, queues and units are looked up; 0: 2 s
	BatchMessages int           // most messages in one send; 0: 4096
	BatchBytes    int           // most bytes in one send, at most 4 MiB; 0: 2 MiB
	// Memory is about what all queues together hold of messages that were read and not yet stored at the target, in equal parts; but each
	// may always hold one pull (about 64 KiB where less is left for it, or one message). The process takes about twice as much, because of
	// the garbage. 0: 128 MiB.
	Memory int
	OnGap  GapPolicy
	// MessagesPerSecond and BytesPerSecond (bodies and properties) limit what this process copies, all its queues together; 0: no limit. Every
	// process has limits of its own. Batches are at most what may go in a tenth of a second. One goes as a whole and is paid for afterwards,
	// so a message of any size goes. The facts log (MSHA_PROGRESS) is not limited.
	MessagesPerSecond int
	BytesPerSecond    int
	// Lease is how long the other replicators of the origin wait for this one if it falls silent, plus a fifth, before they take over its
	// work; a process recognized as dead on their own machine is not waited for. 0: 15 s.
	Lease  time.Duration
	Access msha.AccessFunc // account and TLS of each unit's cluster; nil: no account, plain TCP
	Logger *slog.Logger    // nil: slog.Default()

	timeout time.Duration // of one send or look at a queue; 0: 10 s
	settle  time.Duration // how long an origin that does not show what was copied is asked again: one that was just started shows its messages one after the other; 0: 2 s
	noPlace bool          // the process cannot be recognized as dead by others on its machine
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if len(d.Topics) == 0 {
		d.Topics = []string{"*"}
	}
	if d.Discover <= 0 {
		d.Discover = 2 * time.Second
	}
	if d.BatchMessages <= 0 {
		d.BatchMessages = defaultBatch
	}
	if d.BatchBytes <= 0 {
		d.BatchBytes = 2 << 20
	}
	if d.Memory == 0 {
		d.Memory = defaultMemory
	}
	if d.Lease == 0 {
		d.Lease = defaultLease
	}
	if d.timeout <= 0 {
		d.timeout = callTimeout
	}
	if d.settle <= 0 {
		d.settle = 2 * time.Second
	}
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	return d
}

// validate reports every problem.
func (o *Options) validate(origin string) error {
	var problems []string
	if slices.Contains(o.Targets, origin) {
		problems = append(problems, "the origin is among the targets")
	}
	if o.BatchBytes > maxBatch {
		problems = append(problems, fmt.Sprintf("BatchBytes is %d, brokers take at most %d", o.BatchBytes, maxBatch))
	}
	if o.Memory < 0 {
		problems = append(problems, "Memory is negative")
	}
	problems = append(problems, o.rateProblems()...)
	if o.Lease < 0 {
		problems = append(problems, "Lease is negative")
	}
	for _, pattern := range slices.Concat(o.Topics, o.Deny) {
		if _, err := path.Match(pattern, ""); err != nil {
			problems = append(problems, fmt.Sprintf("topic pattern %q: %v", pattern, err))
		}
	}
	if len(problems) > 0 {
		return msha.Errorf("replicate.new", origin, "", "%w: %s", msha.ErrInvalid, strings.Join(problems, "; "))
	}
	return nil
}
