package switchplan

import (
	"context"
	"errors"

	"github.com/go-msha/msha"
)

// ErrCalledOff is the cause of an abort that somebody ordered while the switch ran (Executor.Abort).
var ErrCalledOff = errors.New("called off")

// CallOff is who called a switch off.
type CallOff struct {
	By   string `json:"by"`
	Note string `json:"note,omitempty"`
}

// Abort calls a switch off: whichever executor works on it, or resumes it, aborts it, as if its running phase or step had failed. Abort does
// not wait for that; the order says what became of it (ReadOrders): a commit at the same moment wins. Repeating it changes nothing, nor does it if
// the switch was aborted anyway. by and note are kept in the order. ErrConflict if the routes have moved, which only another switch takes back;
// ErrNotFound names the unfinished orders; ErrInvalid without by.
func (e *Executor) Abort(ctx context.Context, order, by, note string) error {
	if err := e.trusted(); err != nil {
		return err
	}
	all, err := ReadOrders(ctx, e.o.Store)
	if err != nil {
		return err
	}
	moved := false
	if o := all.find(order); o != nil && o.State == StateRunning && o.Next >= index(o.Plan.Steps, Commit) { // the order may not know yet
		t, err := e.o.Tables.Current(ctx)
		if err != nil {
			return err
		}
		moved = locate(t, &o.Plan) == committed
	}
	return updateOrders(ctx, e.o.Store, func(all *Orders) error {
		o := all.find(order)
		if o == nil {
			return all.unknown("switch.abort", order)
		}
		return o.callOff(CallOff{By: by, Note: note}, moved)
	})
}

func (o *Order) callOff(c CallOff, moved bool) error {
	const op = "switch.abort"
	switch {
	case c.By == "":
		return msha.Errorf(op, o.ID, "say who calls it off", "%w: nobody", msha.ErrInvalid)
	case moved || o.State == StateCommitted || o.State == StateDone:
		return msha.Errorf(op, o.ID, "move the routes back with another switch", "%w: the switch is committed, its routes have moved", msha.ErrConflict)
	case o.State == StateRunning && o.CalledOff == nil:
		o.CalledOff = &c
	}
	return nil
}

// unknown is the error for an order that is not there.
func (o *Orders) unknown(op, id string) error {
	var open []string
	for _, other := range o.Orders {
		if other.Unfinished() {
			open = append(open, other.ID)
		}
	}
	return msha.Errorf(op, id, "unfinished orders: "+list(open), "order %w", msha.ErrNotFound)
}

// calledOff is the reason for the abort, with who wanted it.
func (r *run) calledOff(phase string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.stored.CalledOff
	who := c.By
	if c.Note != "" {
		who += ": " + c.Note
	}
	return msha.Errorf("switch."+phase, r.order.ID, "", "%w by %s", ErrCalledOff, who)
}
