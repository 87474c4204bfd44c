package filter

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/go-msha/msha"
)

// Kind says what a record states.
type Kind byte

// The kinds of records. Each uses Kind and Group, and the fields named here.
const (
	// Baseline without Set: the group is managed and processes Queue from Offset on (the first one in the log counts). With Local it is part of what
	// the log of broker Queue.Broker says of a topic as a whole, in one body of which the first counts: the topic Local.Topic had Local.ID
	// queues at broker Local.Broker when the group began with it; without Topic in Queue it says no more than that.
	// With Set, Term and Hash: what the term has to process of Queue (Spans), written by the hand-over phase into every log of the
	// gaining unit; Next is how far the losing one had pulled. Hash names the hand-over, since an aborted one may be followed by another of the same term. Without Group
	// and Queue it says in Chunks of how many records the hand-over consists, itself included: before all of them are there,
	// it says nothing. Without Group, and with nothing of Queue but the Unit, it says that what that unit had not copied is held back
	// until it has rejoined; of its queues, Offset is where that begins.
	Baseline Kind = iota + 1
	// Done: Set, Term, Queue, Spans are covered. Next, if not 0, is the pull position of Queue: everything below was pulled.
	// Set may be empty: then only Next counts. With Local in place of Queue, Next is the pull position of that replica or retry queue, in
	// its own offsets.
	Done
	// Open: the message (Queue, Offset) failed under Set, Term; a retry copy with Number will be sent. Attempt counts the
	// failures; Writer, Client, MsgID, UniqKey tell whose and which.
	Open
	// Sent: the retry copy of Number is stored. Set, Term, Queue, Offset as in its Open.
	Sent
	// Close ends Number and no other: its copy was not sent, or is about to be acknowledged unprocessed. Set, Term, Queue, Offset as in
	// its Open.
	Close
	// Hold: Client (process Writer) took the local queue Local.
	Hold
	// Release: Client (process Writer) gave the local queue Local up, everything published before.
	Release
	// Ack: Client (process Writer) works with table Version, starts nothing that Version fences and has published everything before.
	Ack
	// Snapshot: Records are the group's facts of this log up to and including LogOffset, chunk Chunk of Chunks.
	Snapshot
	// Void ends Number unless Sent precedes it in the log: whoever wrote it believed the writer dead. Fields as in Close.
	Void
	lastKind = Void
)

var kindNames = [...]string{"", "Baseline", "Done", "Open", "Sent", "Close", "Hold", "Release", "Ack", "Snapshot", "Void"}

// String is for logs.
func (k Kind) String() string {
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// LocalQueue is a queue of the unit's own cluster: a home, replica or retry queue.
type LocalQueue struct {
	Topic, Broker string
	ID            int
}

// String is for logs.
func (q LocalQueue) String() string { return q.Broker + "/" + q.Topic + "/" + strconv.Itoa(q.ID) }

// Record is one fact. Unused fields are zero.
type Record struct {
	Kind      Kind
	Group     string
	Set       string // facts set: see KeyOf
	Term      uint64
	Queue     msha.OriginQueue
	Offset    int64
	Spans     Offsets
	Next      int64
	Hash      string
	Number    string // unique: writer and a counter
	Attempt   int
	Writer    string // random per process start
	Client    string
	MsgID     string
	UniqKey   string
	Local     LocalQueue
	Version   uint64
	LogOffset int64 // where the record is in its log: set by whoever reads it, and stored inside a snapshot. Snapshot: last offset reflected
	Chunk     int   // 0-based
	Chunks    int
	Records   []Record // Snapshot only; they hold no snapshots
}

// Key names the facts of one term.
type Key struct {
	Set  string
	Term uint64
}

// String is for logs.
func (k Key) String() string { return k.Set + "#" + strconv.FormatUint(k.Term, 10) }

// KeyOf is where the facts of a route set are kept: under its parent while the set has not moved since it was split off.
func KeyOf(s msha.RouteSet) Key {
	if s.Parent != "" {
		return Key{s.Parent, s.Term}
	}
	return Key{s.ID, s.Term}
}

// Key of a record.
func (r *Record) Key() Key { return Key{r.Set, r.Term} }

// Origin of the message an Open, Sent or Close is about.
func (r *Record) Origin() msha.Origin { return msha.Origin{OriginQueue: r.Queue, Offset: r.Offset} }

func compareKeys(a, b Key) int {
	return cmp.Or(strings.Compare(a.Set, b.Set), cmp.Compare(a.Term, b.Term))
}

func compareQueues(a, b msha.OriginQueue) int {
	return cmp.Or(strings.Compare(a.Unit, b.Unit), strings.Compare(a.Broker, b.Broker), strings.Compare(a.Topic, b.Topic),
		cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Incarnation, b.Incarnation))
}

func compareLocal(a, b LocalQueue) int {
	return cmp.Or(strings.Compare(a.Broker, b.Broker), strings.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
}
