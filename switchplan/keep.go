package switchplan

import (
	"context"
	"errors"
	"slices"
	"time"
)

// save changes the order by compare-and-set, together with what was only noted. It fails with errLost once another executor has taken the
// order over.
func (r *run) save(ctx context.Context, edit func(*Order)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.stored
	next.Results = slices.Clone(next.Results)
	for _, noted := range r.unsaved {
		noted(&next)
	}
	edit(&next)
	next.Beat++
	err := updateOrders(ctx, r.o.Store, func(o *Orders) error {
		stored := o.find(next.ID)
		if stored == nil || stored.Manager != r.o.Manager {
			return errLost
		}
		if stored.GaveWay != "" {
			return errGaveWay
		}
		next.Decisions = stored.Decisions // others write them
		*stored = next
		return nil
	})
	if err == nil {
		r.stored, r.unsaved = next, nil
	}
	return err
}

// note changes the order as the phases know it and leaves writing it to the next save: what another executor does again, and ends up at the
// same place, is not worth the time of a write while routes stand still.
func (r *run) note(edit func(*Order)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order.Results = slices.Clone(r.order.Results)
	edit(&r.order)
	r.unsaved = append(r.unsaved, edit)
}

// saved is save for the goroutine that runs the phases, which reads the order without a lock.
func (r *run) saved(ctx context.Context, edit func(*Order)) error {
	if err := r.save(ctx, edit); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order = r.stored
	return nil
}

// beat shows other executors that this one works on the order.
func (r *run) beat(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(r.o.ResumeAfter / 4)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := r.save(ctx, func(*Order) {}); errors.Is(err, errLost) || errors.Is(err, errGaveWay) {
					r.lose(err)
					return
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

// sleep waits one poll; it returns why ctx ended if it did.
func (r *run) sleep(ctx context.Context) error { return r.sleepFor(ctx, r.o.Poll) }

func (e *Executor) sleepFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// wait tells the observer what a phase waits for.
func (r *run) wait(phase, why string) {
	if why != r.waiting {
		r.waiting = why
		r.o.Observer.Waiting(r.order.ID, phase, why)
		r.tell(Event{Kind: EventWaiting, Phase: phase, Text: why})
	}
}
