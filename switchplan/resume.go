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
// ordered, once their deadline passed since this executor first saw them. It blocks until the orders found are finished, which may wait for
// people: KeepResuming goes on looking meanwhile. Switches that end in an abort are not errors of Resume.
func (e *Executor) Resume(ctx context.Context) error {
	idle, err := e.idle(ctx)
	if err != nil || len(idle) == 0 {
		return err
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

// KeepResuming is Resume until ctx ends, and then waits for what it has begun. It looks every ResumeAfter, whatever the orders that it has found
// wait for. failed is told each error; it must not block, and calls may come at the same time.
func (e *Executor) KeepResuming(ctx context.Context, failed func(error)) {
	type sight struct {
		order Order
		since time.Time
	}
	seen := map[string]sight{}
	tell := func(err error) {
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
	var begun sync.WaitGroup
	defer begun.Wait()
	for {
		idle, err := e.idle(ctx)
		tell(err)
		if err == nil {
			before := seen
			seen = map[string]sight{}
			for _, o := range idle {
				s := sight{o, now()}
				if old, ok := before[o.ID]; ok && old.order.Beat == o.Beat && old.order.Manager == o.Manager {
					s = old
				}
				seen[o.ID] = s
				if now().Sub(s.since) >= e.o.ResumeAfter {
					begun.Go(func() { tell(e.resume(ctx, o)) })
				}
			}
		}
		if e.sleepFor(ctx, e.o.ResumeAfter) != nil {
			return
		}
	}
}

// idle looks for unfinished orders of others, and reopens fences that nobody will lift.
func (e *Executor) idle(ctx context.Context) ([]Order, error) {
	all, err := ReadOrders(ctx, e.o.Store)
	if err != nil {
		return nil, err
	}
	if err := e.reopenOrphans(ctx, all); err != nil {
		return nil, err
	}
	for i := range all.Orders {
		e.noteMoved(&all.Orders[i])
	}
	return slices.DeleteFunc(all.Orders, func(o Order) bool { return !o.Unfinished() || e.isActive(o.ID) }), nil
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
	report, err := e.execute(ctx, mine, steps, true)
	if errors.Is(err, msha.ErrAborted) || report.State == StateAborted {
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
