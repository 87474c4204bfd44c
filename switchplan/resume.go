package switchplan

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// Resume finishes what other executors left: orders nobody worked on for ResumeAfter, and fences whose switch is over or was never
// ordered, once their deadline passed since this executor first saw them. It blocks until the orders found are finished; call
// it again and again. Switches that end in an abort are not errors of Resume.
func (e *Executor) Resume(ctx context.Context) error {
	first, err := ReadOrders(ctx, e.o.Store)
	if err != nil {
		return err
	}
	if err := e.reopenOrphans(ctx, first); err != nil {
		return err
	}
	for i := range first.Orders {
		e.noteMoved(&first.Orders[i])
	}
	idle := slices.DeleteFunc(slices.Clone(first.Orders), func(o Order) bool { return !o.Unfinished() || e.isActive(o.ID) })
	if len(idle) == 0 {
		return nil
	}
	timer := time.NewTimer(e.o.ResumeAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	var wg sync.WaitGroup
	errs := make([]error, len(idle))
	for i, old := range idle {
		wg.Go(func() { errs[i] = e.resume(ctx, old) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (e *Executor) isActive(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.active[id]
}

var errAlive = errors.New("order changed meanwhile")

// resume takes one order over if it is still as it was.
func (e *Executor) resume(ctx context.Context, old Order) error {
	if !e.claim(old.ID) {
		return nil
	}
	defer e.release(old.ID)
	var mine Order
	err := updateOrders(ctx, e.o.Store, func(o *Orders) error {
		stored := o.find(old.ID)
		if stored == nil || stored.Beat != old.Beat || stored.Manager != old.Manager && stored.Manager != e.o.Manager {
			return errAlive
		}
		stored.Manager = e.o.Manager
		mine = *stored
		return nil
	})
	if errors.Is(err, errAlive) {
		return nil
	}
	if err != nil {
		return err
	}
	steps, _ := bindSteps(mine.Plan.Steps, e.o.Steps) // a step without code ends it where it comes
	e.o.Logger.Info("resuming a switch of another manager", "task", mine.ID, "phase", mine.Phase, "manager", old.Manager)
	_, err = e.execute(ctx, mine, steps, true)
	if errors.Is(err, msha.ErrAborted) {
		return nil
	}
	return err
}

// reopenOrphans reopens fences nobody will lift.
func (e *Executor) reopenOrphans(ctx context.Context, orders *Orders) error {
	table, err := e.o.Tables.Current(ctx)
	if err != nil {
		return err
	}
	deadlines := map[string]time.Duration{}
	for _, set := range table.Sets {
		if set.State != msha.SetFenced {
			continue
		}
		if order := orders.find(set.Switch); order == nil || !order.Unfinished() {
			deadlines[set.Switch] = max(deadlines[set.Switch], set.Deadline)
		}
	}
	for _, id := range e.expired(deadlines) {
		_, err := e.o.Tables.Update(ctx, func(t *msha.Table) (*msha.Table, error) {
			for _, set := range t.Sets {
				if set.State == msha.SetFenced && set.Switch == id {
					return e.o.Edits.Reopen(t, id)
				}
			}
			return t, nil
		})
		if err != nil {
			return err
		}
		e.o.Logger.Warn("reopened routes whose switch had ended", "task", id)
	}
	return nil
}

// expired remembers first sights and returns the orphans whose deadline passed since.
func (e *Executor) expired(deadlines map[string]time.Duration) (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range e.orphans {
		if _, ok := deadlines[id]; !ok {
			delete(e.orphans, id)
		}
	}
	for id, deadline := range deadlines {
		first, ok := e.orphans[id]
		if !ok {
			e.orphans[id] = now()
		} else if now().Sub(first) >= deadline {
			out = append(out, id)
			delete(e.orphans, id)
		}
	}
	return out
}
