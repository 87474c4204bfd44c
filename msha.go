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
	// Lag asks both clusters how far each queue is behind.
	Lag(ctx context.Context) ([]QueueLag, error)
	// Pause stops copying a topic after the batch in flight; Resume continues. Neither blocks. MSHA_PROGRESS cannot be paused.
	Pause(topic string)
	Resume(topic string)
}

// QueueLag is how far one origin queue's copy in one target unit is behind.
type QueueLag struct {
	Queue    OriginQueue
	Target   string // unit
	Copied   int64  // next origin offset to copy
	Messages int64  // origin maximum minus Copied
	Err      error  // why the queue is stopped, or nil
}

// SwitchPlanner turns a request into phases. Plan has no side effects and is safe for concurrent use.
type SwitchPlanner interface {
	Plan(ctx context.Context, req SwitchRequest, view View) (*Plan, error)
}

// SwitchRequest asks to move values to a unit. Either Values or From is set.
type SwitchRequest struct {
	Values         []string      `json:"values,omitempty"` // routing values to move
	From           string        `json:"from,omitempty"`   // move everything this unit owns
	To             string        `json:"to,omitempty"`     // gaining unit; may be empty where there are exactly two live units
	Create         bool          `json:"create,omitempty"` // make exact rules for values that only a default or slot rule covers
	AllowUnmanaged []string      `json:"allowUnmanaged,omitempty"`
	Deadline       time.Duration `json:"deadline,omitempty"` // of the fence; 0: 10 s. Anyone may reopen the routes after it
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
	Values []string `json:"values"` // exact values that move; all rules of the set if Whole
	Whole  bool     `json:"whole"`
	From   string   `json:"from"`
	To     string   `json:"to"`
	Term   uint64   `json:"term"` // the term being ended
}

// Step is one phase of a plan or a user's own step between two phases. Do and Undo are nil for the built-in phases.
type Step struct {
	Name    string                          `json:"name"`
	Do      func(ctx context.Context) error `json:"-"`
	Undo    func(ctx context.Context) error `json:"-"`
	Timeout time.Duration                   `json:"timeout,omitempty"` // 0: the plan's deadline
}
