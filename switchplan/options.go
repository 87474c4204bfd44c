package switchplan

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/go-msha/msha"
)

// Tables reads and edits the routing table document.
type Tables interface {
	// Current reads the table linearizably: it is at least as new as any edit that ended before the call.
	Current(ctx context.Context) (*msha.Table, error)
	// Update replaces the table by compare-and-set, calling edit again after every conflict. An edit that returns its argument
	// changes nothing; the table that is then current is returned.
	Update(ctx context.Context, edit func(*msha.Table) (*msha.Table, error)) (*msha.Table, error)
}

// Edits are the pure changes a switch makes to a table. Each returns a new table of a higher version, or an error; the argument is
// never changed.
type Edits interface {
	// Fence marks the moved routes fenced by plan.ID. ErrBusy if one is fenced by another switch.
	Fence(t *msha.Table, plan *msha.Plan) (*msha.Table, error)
	// Abort keeps the fence of a switch, and makes its Commit fail from now on: RouteSet.Aborting.
	Abort(t *msha.Table, switchID string) (*msha.Table, error)
	// Reopen undoes what Fence and Abort did for the switch: the owner and the term stay as they were.
	Reopen(t *msha.Table, switchID string) (*msha.Table, error)
	// Commit gives the fenced routes to their new owner under the next term; hashes is the hash of what remains, by new set id. If the
	// request is forced, the sets keep a note of the term that was ended.
	Commit(t *msha.Table, plan *msha.Plan, hashes map[string]string) (*msha.Table, error)
	// Rejoin takes the notes of a unit's forced terms away; hashes is the hash of what remains now, by set id, and from the table it was
	// computed with. ErrConflict if a set has changed since.
	Rejoin(t, from *msha.Table, unit string, hashes map[string]string) (*msha.Table, error)
}

// Registry reads the documents that say who takes part.
type Registry interface {
	Units(ctx context.Context) (*msha.Units, error)
	// Roster reads the roster linearizably: a process that entered it before the fence must be in it.
	Roster(ctx context.Context) (msha.Roster, error)
	// Prune takes dead entries out of the roster, unless their processes have entered it again (Roster.Prune).
	Prune(ctx context.Context, dead []msha.RosterMember) error
}

// Cluster answers what the brokers of a unit know.
type Cluster interface {
	// Acks reads the unit's log and returns for each client the highest table version it acknowledged in the log of every
	// broker; a client that is missing in one broker's log has version 0.
	Acks(ctx context.Context, unit string) (map[string]uint64, error)
	// Mark writes a fenced version into the unit's log on every broker: a process that joins again without the metastore sees there
	// that its table is too old (design section 7, Gate).
	Mark(ctx context.Context, unit string, version uint64) error
	// Clients lists for each group the client ids in its consumer connection lists on any broker of the unit.
	Clients(ctx context.Context, unit string, groups []string) (map[string][]string, error)
}

// Facts computes and hands over what remains.
type Facts interface {
	// Remaining reads the log of the losing unit to its end and computes what the new terms of the moves have to process. All
	// moves have From == unit; table is the one that holds their fence.
	Remaining(ctx context.Context, unit string, table *msha.Table, moves []msha.Move) (*Remaining, error)
	// RemainingForced is Remaining by what the gaining unit has of the losing one, which is not asked. With partial, listed groups of which
	// nothing is known there are no error: they begin at their baselines. Without a fence in the table it says what a forced switch would do now.
	RemainingForced(ctx context.Context, unit, to string, table *msha.Table, moves []msha.Move, partial bool) (*Remaining, error)
	// RemainingRejoined computes what sets have to process that a unit lost by force, now that it is back and its processes have acknowledged
	// it. All sets are owned by owner. With lost, the unit is not asked: its log is gone, and what owner has of it must do.
	RemainingRejoined(ctx context.Context, owner, unit string, table *msha.Table, sets []string, lost bool) (*Remaining, error)
	// RemainingAgain is Remaining for terms that stay in their unit and begin with a replay. Without a fence in the table it says what a
	// replay would do now. ErrInvalid if the group has no facts there.
	RemainingAgain(ctx context.Context, unit string, table *msha.Table, moves []msha.Move, replay *msha.Replay) (*Remaining, error)
	// HandOver appends what remains to the log of a unit on every broker. Repeating it changes nothing.
	HandOver(ctx context.Context, unit string, r *Remaining) error
	// Present is ErrNotFound, with their names, unless all brokers in the unit's document are registered at its name servers.
	Present(ctx context.Context, unit string) error
	// Missing reads the log of a unit and returns the groups in its unit document of which the log holds no facts.
	Missing(ctx context.Context, unit string) ([]string, error)
	// Outlook reads the log of the losing unit, without changing it, and says what the moves would leave to their new owners if they
	// were made now. All moves have From == unit; table holds no fence of theirs. ErrMissingFacts if what remains cannot be told.
	Outlook(ctx context.Context, unit string, table *msha.Table, moves []msha.Move) ([]Outlook, error)
	// Pulled reads the log of a unit and says how far its groups have pulled.
	Pulled(ctx context.Context, unit string) (Pulled, error)
	// Progress reads the log of the gaining unit and says how far its agents are with what was handed over. What they pulled later than upTo
	// says is not pending; nil: nothing was.
	Progress(ctx context.Context, unit string, moves []msha.Move, upTo Pulled) (Progress, error)
}

// Remaining is what one losing unit hands over. It is opaque to this package apart from the hashes.
type Remaining struct {
	Hashes   map[string]string // by new set id
	Count    int64             // messages the losing unit had read and not finished, all groups together
	Repeated int64             // at most so many messages may have been processed already
	// Acks are the acknowledgements in the log it was computed from, as those of Cluster.Acks; nil if the losing unit was not asked.
	Acks  map[string]uint64
	Facts any
}

// Pulled is for each group the first offset of each queue that it has not pulled.
type Pulled map[string]map[msha.OriginQueue]int64

// Progress is how far a take-over is.
type Progress struct {
	Pending          int64 `json:"pending"`          // messages still to look at
	Offline          int64 `json:"offline"`          // the same, of groups that no process of the unit consumes: they wait for one
	TakenOver        int64 `json:"takenOver"`        // messages of the moved routes the new owner has processed of those the old owner had left
	PossiblyRepeated int64 `json:"possiblyRepeated"` // started by an owner that died before publishing
	Unknown          int64 `json:"unknown"`          // cannot be decided from the facts
}

// Observer is told what an executor does, from its own goroutine: calls must not block. Nil fields are skipped.
type Observer struct {
	Phase    func(task, phase string)      // a phase or step begins
	Waiting  func(task, phase, why string) // what a phase waits for, once per change
	TakeOver func(task string, p Progress) // progress of the last phase
	Done     func(task string, r *Report, err error)
}

// Options of New. The first six are required.
type Options struct {
	Store    msha.MetaStore
	Tables   Tables
	Edits    Edits
	Registry Registry
	Cluster  Cluster
	Facts    Facts

	Manager         string               // identity of this process in work orders; "": random
	Steps           map[string]msha.Step // code of users' own steps by name, for plans read from JSON and orders that another process began
	GateWindow      time.Duration        // G of the agents; 0: 30 s
	ForcedGrace     time.Duration        // how long a forced switch waits for agents that are alive after all; 0: 1 s
	Poll            time.Duration        // between two looks at acknowledgements and progress; 0: 10 ms
	TakeOverTimeout time.Duration        // how long Run waits for the last phase; 0: 30 s
	ResumeAfter     time.Duration        // an order unchanged for so long is another executor's to finish; 0: 3 s
	Guards          Guards               // what refuses a switch that is possible but unwise
	Logger          *slog.Logger         // nil: slog.Default()
	Observer        Observer
	Events          *Stream // gets the events of the orders this executor works on; nil: nobody
}

func (o *Options) withDefaults() Options {
	var out Options
	if o != nil {
		out = *o
	}
	if out.Manager == "" {
		out.Manager = randomUUID()
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&out.GateWindow, 30 * time.Second}, {&out.ForcedGrace, time.Second}, {&out.Poll, 10 * time.Millisecond}, {&out.TakeOverTimeout, 30 * time.Second}, {&out.ResumeAfter, 3 * time.Second}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if out.Logger == nil {
		out.Logger = slog.Default()
	}
	if out.Observer.Phase == nil {
		out.Observer.Phase = func(string, string) {}
	}
	if out.Observer.Waiting == nil {
		out.Observer.Waiting = func(string, string, string) {}
	}
	if out.Observer.TakeOver == nil {
		out.Observer.TakeOver = func(string, Progress) {}
	}
	if out.Observer.Done == nil {
		out.Observer.Done = func(string, *Report, error) {}
	}
	return out
}

func (o *Options) validate() error {
	var all []error
	for name, missing := range map[string]bool{
		"Store": o.Store == nil, "Tables": o.Tables == nil, "Edits": o.Edits == nil,
		"Registry": o.Registry == nil, "Cluster": o.Cluster == nil, "Facts": o.Facts == nil,
	} {
		if missing {
			all = append(all, msha.Errorf("switch.new", "Options."+name, "set it", "%w: required", msha.ErrInvalid))
		}
	}
	return errors.Join(all...)
}
