package switchplan

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/go-msha/msha"
)

// The states of a work order.
const (
	StateRunning   = "running"
	StateAborting  = "aborting"  // given up before the commit: no executor goes forward any more, and whoever has the order ends the abort
	StateCommitted = "committed" // phase 7: the values may move again
	StateDone      = "done"
	StateAborted   = "aborted"
)

// Order is the work order of one switch in the document under msha.SwitchKey.
type Order struct {
	ID       string            `json:"id"`
	Plan     msha.Plan         `json:"plan"`
	State    string            `json:"state"`
	Next     int               `json:"next"`               // index of the step of the plan that is running
	Phase    string            `json:"phase"`              // its name
	Version  uint64            `json:"version,omitempty"`  // of the table that holds the fence
	Hashes   map[string]string `json:"hashes,omitempty"`   // of what was handed over, by new set
	Repeated int64             `json:"repeated,omitempty"` // of a forced switch: at most so many messages may be processed twice
	Results  []PhaseResult     `json:"results,omitempty"`
	Manager  string            `json:"manager"` // the executor that works on it
	Beat     uint64            `json:"beat"`    // grows while it does
	Error    string            `json:"error,omitempty"`
	Override []string          `json:"override,omitempty"` // what the request orders to pass by: override=<guard>, allow-unmanaged=<group>

	Overridden []GuardHit `json:"overridden,omitempty"` // what those guards had said
	Decisions  []Decision `json:"decisions,omitempty"`  // answers to approvals; any manager adds them
	GaveWay    string     `json:"gaveWay,omitempty"`    // the forced switch that took its routes before it had fenced them
	CalledOff  *CallOff   `json:"calledOff,omitempty"`  // by Executor.Abort; any manager writes it
	Rechecks   bool       `json:"rechecks,omitempty"`   // in phase fence, and has not begun to fence
	Undone     []string   `json:"undone,omitempty"`     // of an abort: the user's steps that need no Undo any more
	Withdrawn  bool       `json:"withdrawn,omitempty"`  // of an abort: a later term in the table is another switch's
}

// Orders is the document: unfinished orders, then the last finished ones.
type Orders struct {
	Orders []Order `json:"orders"`
}

// keepFinished and keepBytes bound the document. Stores take 1 MiB; an order of many values may need a good part of that, and grows while it runs.
const keepFinished, keepBytes = 10, 512 << 10

var (
	errLost    = errors.New("another executor took the order over")
	errGaveWay = errors.New("a forced switch takes the same routes")
)

// ReadOrders reads the document; there is none before the first switch.
func ReadOrders(ctx context.Context, store msha.MetaStore) (*Orders, error) {
	doc, err := store.Get(ctx, msha.SwitchKey)
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return nil, err
	}
	return parseOrders(doc)
}

func parseOrders(doc msha.Document) (*Orders, error) {
	o := &Orders{}
	if doc.Revision == 0 {
		return o, nil
	}
	if err := json.Unmarshal(doc.Value, o); err != nil {
		return nil, msha.Errorf("switch.orders", msha.SwitchKey, "repair or delete the document", "%w: %w", msha.ErrInvalid, err)
	}
	return o, nil
}

// updateOrders edits the document by compare-and-set.
func updateOrders(ctx context.Context, store msha.MetaStore, edit func(*Orders) error) error {
	return msha.Update(ctx, store, msha.SwitchKey, func(old msha.Document) ([]byte, error) {
		o, err := parseOrders(old)
		if err != nil {
			return nil, err
		}
		if err := edit(o); err != nil {
			return nil, err
		}
		return o.encode()
	})
}

// encode writes the document, without what there is no room for. It is written between fence and commit too: sizes are looked at only if it is large.
func (o *Orders) encode() ([]byte, error) {
	o.dropOldest()
	doc, err := json.Marshal(o)
	if err != nil || len(doc) <= keepBytes {
		return doc, err
	}
	o.trim()
	return json.Marshal(o)
}

func (o *Orders) find(id string) *Order {
	for i := range o.Orders {
		if o.Orders[i].ID == id {
			return &o.Orders[i]
		}
	}
	return nil
}

func (o *Orders) dropOldest() {
	finished := 0
	for i := len(o.Orders) - 1; i >= 0; i-- {
		if !o.Orders[i].Unfinished() {
			if finished++; finished > keepFinished {
				o.Orders = slices.Delete(o.Orders, i, i+1)
			}
		}
	}
}

// trim makes the document small enough for a new order. Finished orders lose what only tells how they went, then go: first those that moved nothing, as
// the least interval between two switches counts from the others, and the newest last.
func (o *Orders) trim() {
	sizes, sum := make([]int, len(o.Orders)), 0
	for i := range o.Orders {
		sizes[i] = o.Orders[i].size()
		sum += sizes[i]
	}
	for i := 0; i < len(o.Orders) && sum > keepBytes; i++ {
		if order := &o.Orders[i]; !order.Unfinished() {
			sum -= sizes[i]
			order.outline()
			sizes[i] = order.size()
			sum += sizes[i]
		}
	}
	for _, moved := range []bool{false, true} {
		for i := 0; i < len(o.Orders) && sum > keepBytes; {
			if order := &o.Orders[i]; order.Unfinished() || !moved && order.State == StateDone && order.Plan.Request.Replay == nil {
				i++
				continue
			}
			sum -= sizes[i]
			o.Orders, sizes = slices.Delete(o.Orders, i, i+1), slices.Delete(sizes, i, i+1)
		}
	}
}

func (o *Order) size() int {
	b, _ := json.Marshal(o) // what cannot be written is refused later
	return len(b)
}

// outline leaves of a finished order what it moved, and how it ended.
func (o *Order) outline() {
	o.Results, o.Hashes, o.Decisions, o.Overridden, o.Plan.Steps = nil, nil, nil, nil, nil
	o.Plan.Request.Values = nil // the moves name them
}

// Unfinished says whether an executor still has work with the order.
func (o *Order) Unfinished() bool {
	return o.State == StateRunning || o.State == StateAborting || o.State == StateCommitted
}

// overlaps says whether two plans move a common route.
func overlaps(a, b *msha.Plan) bool {
	for _, m := range a.Moves {
		for _, n := range b.Moves {
			if m.NewSet == n.NewSet || m.Set == n.Set && (m.Whole || n.Whole || common(m.Values, n.Values)) {
				return true
			}
			// One may make a rule for what a rule of the other one catches.
			if m.Set == n.Set && (a.Request.Create || b.Request.Create) && !(onlyExact(m.Values) && onlyExact(n.Values)) {
				return true
			}
		}
	}
	return false
}

// common says whether rules that are named in both lists, or parts of them, are the same.
func common(a, b []string) bool {
	cut, _ := msha.CutRules(rulesOf(a), rulesOf(b))
	return slices.ContainsFunc(cut, func(part msha.CutRule) bool { return part.Named })
}

func onlyExact(names []string) bool {
	return !slices.ContainsFunc(rulesOf(names), func(r msha.Rule) bool { return r.Kind != msha.RuleExact })
}

// rulesOf passes over what is no name of a rule: checkPlan has refused it.
func rulesOf(names []string) (out []msha.Rule) {
	for _, name := range names {
		if r, err := msha.ParseRule(name); err == nil {
			out = append(out, r)
		}
	}
	return out
}

// create writes a new order. ErrBusy if the routes are in phases 1 to 6 of another one; what allowed says of the orders counts too.
func create(ctx context.Context, store msha.MetaStore, order Order, allowed func(*Orders) error) error {
	return updateOrders(ctx, store, func(o *Orders) error {
		if old := o.find(order.ID); old != nil && old.Manager == order.Manager && old.State == StateRunning && old.Beat == 0 && old.Next == 0 {
			return nil // an earlier attempt was stored although its answer was lost
		}
		if err := o.refuse(&order); err != nil {
			return err
		}
		if err := allowed(o); err != nil {
			return err
		}
		for _, other := range o.inTheWayOf(&order) { // they give way, or the order would have been refused
			if other.State == StateAborting {
				continue
			}
			other.State, other.GaveWay, other.Error = StateAborting, order.ID, errGaveWay.Error()
			if other.Next == 0 { // none of its steps has run
				other.State = StateAborted
			}
			other.Beat++ // who wanted to resume it looks again
		}
		o.Orders = append(o.Orders, order)
		return nil
	})
}

// inTheWayOf lists the orders that have not committed yet, or whose steps are being undone, and move a common route.
func (o *Orders) inTheWayOf(order *Order) (all []*Order) {
	for i := range o.Orders {
		if other := &o.Orders[i]; (other.State == StateRunning || other.State == StateAborting) && overlaps(&other.Plan, &order.Plan) {
			all = append(all, other)
		}
	}
	return all
}

// givesWay tells whether an order ends for another one: a planned switch, before its fence, for a forced one. Its steps are undone while the
// forced switch goes on.
func (o *Order) givesWay(to *Order) bool {
	return to.Plan.Request.Forced && !o.Plan.Request.Forced && (o.State == StateAborting || !o.fences())
}

// fences tells whether the order's routes may be fenced, now or by an executor that stands still.
func (o *Order) fences() bool {
	at := index(o.Plan.Steps, Fence)
	return o.Next > at || o.Next == at && !o.Rechecks
}

// refuse is the reason why an order cannot be added.
func (o *Orders) refuse(order *Order) error {
	if o.find(order.ID) != nil {
		return msha.Errorf("switch.order", order.ID, "make a new plan", "%w: the plan was run before", msha.ErrInvalid)
	}
	for _, other := range o.inTheWayOf(order) {
		if !other.givesWay(order) {
			return msha.Errorf("switch.order", other.ID, "wait until it ends, then try again", "%w: routes are in phase %q of another switch, which is %s", msha.ErrBusy, other.Phase, other.State)
		}
	}
	return nil
}

// overrides lists what an order passes by, with what the guards had said of it.
func overrides(o *Order) (out []Override) {
	for _, name := range o.Override {
		guard := strings.TrimPrefix(name, "override=")
		entry := Override{Guard: guard, By: o.Plan.Request.By}
		var said []string
		for _, h := range o.Overridden {
			if h.Guard == guard {
				said = append(said, h.Where+": "+h.What)
			}
		}
		entry.What = strings.Join(said, "; ")
		out = append(out, entry)
	}
	return out
}
