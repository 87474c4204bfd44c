package switchplan

import (
	"context"
	"errors"
	"slices"
	"time"
)

// save changes the order by compare-and-set, together with what was only noted. It fails with errLost once another executor has taken the
// order over, and with the reason if somebody wants it not to go forward any more.
func (r *run) save(ctx context.Context, edit func(*Order)) error {
	_, err := r.put(ctx, edit)
	return err
}

// pulse shows that this executor works on the order, also if it must not go forward, which is told. It does not hold other writes up for longer than
// matters: another executor takes the order over then.
func (r *run) pulse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.o.ResumeAfter)
	defer cancel()
	stops, err := r.put(ctx, nil)
	return errors.Join(stops, err)
}

func (r *run) put(ctx context.Context, edit func(*Order)) (stops, err error) {
	select {
	case r.writing <- struct{}{}:
		defer func() { <-r.writing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	next := r.stored
	next.Results = slices.Clone(next.Results)
	noted := r.unsaved
	r.mu.Unlock()
	for _, edit := range noted {
		edit(&next)
	}
	if edit != nil {
		edit(&next)
	}
	var off *CallOff
	err = updateOrders(ctx, r.o.Store, func(o *Orders) error {
		stored := o.find(next.ID)
		if stored == nil || stored.Manager != r.o.Manager {
			return errLost
		}
		off = stored.CalledOff
		if stops = stored.stops(&next); stops != nil {
			if edit != nil || !stored.Unfinished() {
				return stops
			}
			stored.Beat++
			return nil
		}
		next.Decisions, next.CalledOff, next.GaveWay = stored.Decisions, off, stored.GaveWay // others write them
		next.Beat = stored.Beat + 1
		*stored = next
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && stops == nil {
		r.stored, r.unsaved = next, r.unsaved[len(noted):] // more may have been noted
	}
	if off != nil {
		r.stored.CalledOff = off
	}
	return stops, err
}

// stops is why an executor must not write the order as it has it: somebody wants it aborted, or did so himself.
func (o *Order) stops(next *Order) error {
	switch {
	case o.GaveWay != "" && (next.State == StateRunning || o.State == StateAborted):
		return errGaveWay
	case o.CalledOff != nil && next.State == StateRunning:
		return ErrCalledOff
	}
	return nil
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

// begin returns the context of what goes forward; interrupt ends it.
func (r *run) begin() context.Context {
	ctx, interrupt := context.WithCancelCause(r.base)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forward = interrupt
	return ctx
}

func (r *run) interrupt(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forward(why)
}

// beat shows other executors that this one works on the order, during an abort too, and ends what goes forward if they want that.
func (r *run) beat() (stop func()) {
	ctx, cancel := context.WithCancel(r.owned)
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
			}
			switch why := whyEnded(ctx, r.pulse(ctx)); why {
			case nil:
			case errLost:
				r.disown(errLost)
				r.interrupt(errLost)
				return
			default:
				r.interrupt(why)
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
