package msha

import (
	"context"
	"time"
)

// Properties the module puts on messages (design section 4).
const (
	PropertyRoute  = "MSHA_ROUTE"  // routing value; set by the producer side
	PropertyUnit   = "MSHA_UNIT"   // unit where the message was produced; set by the producer side, or by the replicator if absent
	PropertyOrigin = "MSHA_ORIGIN" // identity; trusted only in replica topics and in retry copies the engine wrote
	PropertyEmpty  = "MSHA_EMPTY"  // the body of this retry copy stands for an empty one, which brokers refuse; set by the engine
	PropertyRetry  = "MSHA_RETRY"  // number of the Open record a retry copy belongs to; set by the engine
)

// Document is one named, versioned value of a MetaStore.
type Document struct {
	Key      string
	Value    []byte
	Revision Revision
}

// Revision orders the versions of one document. Zero means "does not exist". Only revisions of the same key compare.
type Revision uint64

// MetaStore is a small driver over named documents (design section 5). All methods are safe for concurrent use, block until the
// server answered or ctx ended, and return ctx's error unwrapped when it ended first.
type MetaStore interface {
	// Get returns the current document, or ErrNotFound. It may be stale where the server's reads are.
	Get(ctx context.Context, key string) (Document, error)
	// Put stores value if the current revision is expect (0: the document must not exist) and returns the new, larger
	// revision; otherwise ErrConflict. ErrTooLarge if the server refuses the size.
	Put(ctx context.Context, key string, value []byte, expect Revision) (Revision, error)
	// Delete removes the document if its revision is expect; otherwise ErrConflict, or ErrNotFound. A later Put of the key
	// continues with a larger revision than any before.
	Delete(ctx context.Context, key string, expect Revision) error
	// Watch subscribes, then reads: the channel delivers the current document first (Revision 0 and nil Value if there is
	// none), then newer ones, coalesced, never an older one after a newer one. It is closed when ctx ends or the store closes. What is
	// delivered is the reader's own.
	Watch(ctx context.Context, key string) (<-chan Document, error)
	// Close releases the connection. Watches end. It does not block on a dead server.
	Close() error
}

// FreshGetter is an optional interface of a MetaStore whose server can read linearizably. Where it is missing, the function
// GetFresh reads by a compare-and-set that changes nothing.
type FreshGetter interface {
	// GetFresh is Get, at least as new as any change that ended before the call.
	GetFresh(ctx context.Context, key string) (Document, error)
}

// SafetyReporter is an optional interface of a MetaStore that can find out that its server does not keep what Put and Get promise: a
// compare-and-set with a wrong revision was accepted, or a revision went backwards. Such a store serves tables and refuses to switch.
type SafetyReporter interface {
	// Safe returns nil, or an error that wraps ErrUnsafe and names the reason. It does not block; once unsafe, a store stays so until
	// it is opened again.
	Safe() error
}

// StrictLimiter is an optional interface of a MetaStore whose linearizable reads cost the server more than reads should: agents in Strict mode
// make them all the time.
type StrictLimiter interface {
	// StrictLimit is how many consumers may be in Strict mode, all units together.
	StrictLimit() int
}

// Safe is nil if compare-and-set on the store can be relied on as far as the store knows, otherwise the error of its SafetyReporter.
func Safe(store MetaStore) error {
	if reporter, ok := store.(SafetyReporter); ok {
		return reporter.Safe()
	}
	return nil
}

// Member is one process in a Membership set.
type Member struct {
	ID       string            // unique in its set
	Metadata map[string]string // small: addresses, unit, group, client id
}

// Membership lists the living members of a named set; it is information, never evidence of a stop (design section 7, Gate).
// Methods are safe for concurrent use.
type Membership interface {
	// Join adds m until leave is called, ctx ends or the process dies; ErrConflict if the id is taken by a living member.
	Join(ctx context.Context, set string, m Member) (leave func(context.Context) error, err error)
	// WatchMembers delivers the current members sorted by ID, then again after every change, coalesced, until ctx ends.
	WatchMembers(ctx context.Context, set string) (<-chan []Member, error)
}

// Router serves the routing table an agent works with. Methods never block and are safe for concurrent use.
type Router interface {
	// Table returns the newest applied snapshot: immutable, never nil.
	Table() *Table
	// Changed returns a channel that is closed once a version newer than the given one is applied; already closed if so.
	Changed(version uint64) <-chan struct{}
}

// Replicator copies messages between two units. Methods are safe for concurrent use.
type Replicator interface {
	// Run copies until ctx ends, then finishes the batches in flight and returns nil; or it returns the error that made it stop.
	Run(ctx context.Context) error
	// Lag asks the origin how far each copy is behind, of the queues that this process copies. With an error, queues that could not be
	// asked are missing.
	Lag(ctx context.Context) ([]QueueLag, error)
	// Pause stops copying a topic in this process after the batch in flight; Resume continues. Neither blocks. MSHA_PROGRESS cannot be
	// paused.
	Pause(topic string)
	Resume(topic string)
}

// Unknown stands where a number or a time is not known; it is never to be taken for 0.
const Unknown = -1

// QueueLag is how far one origin queue's copy in one target unit is behind.
type QueueLag struct {
	Queue    OriginQueue
	Target   string // unit
	Copied   int64  // next origin offset to copy
	Messages int64  // origin maximum minus Copied
	// Bytes estimates how much is not copied yet, bodies and properties: Messages times the mean size of what the queue's replicator copied
	// last (about its eight last batches), or, if it has copied nothing yet, times the size of the oldest message that waits. It errs as
	// far as what waits is of another size than that. Unknown if that message could not be read.
	Bytes int64
	// Age is how old the oldest message is that is not copied, 0 if none is: from the moment the origin's broker stored it to that
	// broker's own time now, which it tells in whole seconds, so it is up to a second short. No other clock is compared (design P7). Where the
	// account may not ask the broker for its time, Age ends at the newest message of the queue, and is a lower bound. Unknown if the
	// message could not be read.
	Age time.Duration
	Err error // why the queue is stopped, or nil
}

// PendingMessages is what one broker of a unit has accepted and holds back. None of it is visible to consumers, and so none of it is copied:
// it is lost with the site, unless the broker comes back.
type PendingMessages struct {
	Unit, Broker string
	// Delayed messages wait for their time: by delay level (consumers' retries are among them), or in the timer of RocketMQ 5. For a
	// second after a delivery, and while the broker is late with one, it errs by one for each delay level.
	Delayed int64
	// Half messages are transactions that were neither committed nor rolled back. RocketMQ 5 notes the ends of transactions every 3 s,
	// so up to that long ended ones are among them.
	Half int64
	Err  error // why a number is Unknown, or nil
}

// SwitchPlanner turns a request into phases. Plan has no side effects and is safe for concurrent use.
type SwitchPlanner interface {
	Plan(ctx context.Context, req SwitchRequest, view View) (*Plan, error)
}

// SwitchRequest asks to move values to a unit. Either Values or From is set.
type SwitchRequest struct {
	Values         []string      `json:"values,omitempty"` // routing values, or names of other rules (RuleName), to move
	From           string        `json:"from,omitempty"`   // move everything this unit owns
	To             string        `json:"to,omitempty"`     // gaining unit; may be empty where there are exactly two live units
	Forced         bool          `json:"forced,omitempty"` // the losing units are not asked: they are dead or out of reach (design section 8)
	Create         bool          `json:"create,omitempty"` // make rules for values, ranges and slots that only another rule covers
	AllowUnmanaged []string      `json:"allowUnmanaged,omitempty"`
	Deadline       time.Duration `json:"deadline,omitempty"` // of the fence; 0: 10 s, at most 10 min. Without a commit the routes are reopened after it
	Override       []string      `json:"override,omitempty"` // guards, by name, that must not refuse it; recorded
	By             string        `json:"by,omitempty"`       // who asks; recorded
	Replay         *Replay       `json:"replay,omitempty"`   // instead of moving: the routes stay, and their owners process messages once more
}

// Replay is what the owner of routes processes once more, under a new term: messages of the routes that were stored in a span of time, by the
// clock of the broker that each was first stored at. What a group has not processed yet it processes in any case.
type Replay struct {
	Group  string    `json:"group"`
	Topics []string  `json:"topics,omitempty"` // home topics; none: all that the group consumes
	Units  []string  `json:"units,omitempty"`  // where the messages were first stored; none: in any unit
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // zero: all that was stored since
	// Partial goes on where a queue does not go back to Since any more: what is there is processed once more. Otherwise that is ErrGap.
	Partial bool `json:"partial,omitempty"`
}

// View is what a planner may look at.
type View struct {
	Table *Table
	Units *Units
}

// Plan is the ordered list of steps of one switch.
type Plan struct {
	ID       string        `json:"id"`
	Request  SwitchRequest `json:"request"`
	Moves    []Move        `json:"moves"`
	Deadline time.Duration `json:"deadline"`
	Steps    []Step        `json:"steps"`
}

// Move says that values leave a route set for a unit. Set is the set they are in now; NewSet the one they will be in (equal to Set
// if the whole set moves).
type Move struct {
	Set    string   `json:"set"`
	NewSet string   `json:"newSet"`
	Values []string `json:"values"` // names of the rules that move (RuleName); all rules of the set if Whole
	Whole  bool     `json:"whole"`
	From   string   `json:"from"`
	To     string   `json:"to"`
	Term   uint64   `json:"term"` // the term being ended
}

// StepKind tells an approval from a step that runs code.
type StepKind string

// StepApproval is the kind of a step that waits until somebody approves or refuses; it needs no code.
const StepApproval StepKind = "approval"

// Step is one phase of a plan or a user's own step between two phases. The functions are nil for the built-in phases and for approvals,
// and are found by the step's name where a plan is read from JSON. Another process may have to repeat a step that was interrupted, and to
// undo one that it did not run.
type Step struct {
	Name        string        `json:"name"`
	Kind        StepKind      `json:"kind,omitempty"`
	Timeout     time.Duration `json:"timeout,omitempty"`     // of each attempt, and of the condition and the compensation; 0: the plan's deadline, which ends steps behind the fence in any case
	Attempts    int           `json:"attempts,omitempty"`    // how often Do is tried before the step has failed; 0: once
	Pause       time.Duration `json:"pause,omitempty"`       // between two attempts
	SkipOnError bool          `json:"skipOnError,omitempty"` // a step that failed is skipped and recorded; the switch goes on

	Do func(ctx context.Context) error `json:"-"`
	// Undo compensates Do if the switch is aborted later; nil: nothing to do. It must be repeatable: if it is interrupted, or its process dies
	// before the order says that the step is undone, it runs again, perhaps elsewhere, and so it does if Do had not got far or had not begun. Behind
	// the fence the routes wait for it, but not longer than Timeout: then they are reopened all the same.
	Undo func(ctx context.Context) error                   `json:"-"`
	Skip func(ctx context.Context) (why string, err error) `json:"-"` // asked before Do: a reason means that the step is not needed; nil: never
}
