package switchplan

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/go-msha/msha"
)

// Rejoined is what taking a unit back did.
type Rejoined struct {
	Unit     string        `json:"unit"`
	Sets     []string      `json:"sets"`     // route sets that the unit had lost by force
	Repeated int64         `json:"repeated"` // at most so many messages were handed over that the unit had processed: they ran twice, or will not run again
	Gone     []string      `json:"gone,omitempty"`
	Duration time.Duration `json:"-"`
}

// Rejoin takes a unit back that lost routes by force, once it answers again and its processes have acknowledged that the routes are not
// theirs, or are gone. What the unit had not copied is then given to the owners of the routes, less what its log says was processed; from then
// on it may gain routes. It blocks until that is done or ctx ends, telling the observer what it waits for; nil if there is nothing to take
// back. Several executors may do it at once.
//
// With lost, the unit is not asked: its log is gone, and what the owners have of it must do. Whatever it had processed and not copied is
// processed again, should the messages still come.
func (e *Executor) Rejoin(ctx context.Context, unit string, lost bool) (*Rejoined, error) {
	begun := now()
	r := e.newRun(Order{ID: "rejoin of " + unit, Plan: msha.Plan{Moves: []msha.Move{{From: unit}}}})
	var terms []msha.ForcedTerm // that the version asked for stands for
	var reason error            // of the last attempt that had the time to say one
	pause := rejoinPoll
	for {
		r.looked, r.folded = false, false
		done, err := r.rejoin(ctx, unit, lost, &terms)
		if !r.looked { // time passes in which processes may come and go unseen
			clear(r.absent)
			r.marked = 0 // it may have lost the tail of its log
		}
		switch {
		case err == nil:
			if done != nil {
				done.Duration = now().Sub(begun)
				e.o.Logger.Info("unit rejoined after a forced switch", "unit", unit, "sets", done.Sets, "repeated", done.Repeated, "gone", done.Gone, "after", done.Duration)
			}
			return done, nil
		case ctx.Err() != nil:
			return nil, errors.Join(ctx.Err(), cmp.Or(reason, err))
		case errors.Is(err, msha.ErrUnsafe), errors.Is(err, msha.ErrInvalid):
			return nil, err
		}
		reason = err
		r.wait("rejoin", unit+": "+err.Error())
		if err := e.sleepFor(ctx, max(e.o.Poll, pause)); err != nil {
			return nil, errors.Join(err, reason)
		}
		if pause = min(2*pause, lastRejoinPause); !r.folded {
			pause = rejoinPoll
		}
	}
}

// rejoinPoll is how often a unit that is away is looked at. Attempts that read whole logs and fail, because copies are missing, come less often.
const rejoinPoll, lastRejoinPause = 100 * time.Millisecond, 3 * time.Second

// rejoin is one attempt.
func (r *run) rejoin(ctx context.Context, unit string, lost bool, terms *[]msha.ForcedTerm) (*Rejoined, error) {
	if err := r.trusted(); err != nil {
		return nil, err
	}
	t, err := r.o.Tables.Current(ctx)
	if err != nil {
		return nil, err
	}
	if !t.Away(unit) {
		return nil, nil
	}
	done := &Rejoined{Unit: unit}
	byOwner := map[string][]string{}
	var now []msha.ForcedTerm
	for _, id := range slices.Sorted(maps.Keys(t.Sets)) {
		set := t.Sets[id]
		term, forced := set.ForcedFrom(unit)
		if !forced {
			continue
		}
		if set.State != msha.SetOpen {
			return nil, msha.Errorf("switch.rejoin", "route set "+id, "wait until it ends", "%w: in switch %s", msha.ErrBusy, set.Switch)
		}
		now = append(now, term)
		done.Sets = append(done.Sets, id)
		byOwner[set.Owner] = append(byOwner[set.Owner], id)
	}
	if !slices.Equal(now, *terms) { // a process that acknowledges this version knows of all of them
		*terms, r.order.Version = now, t.Version
	}
	var dead []msha.RosterMember
	if !lost {
		if dead, err = r.returned(ctx, unit); err != nil {
			return nil, err
		}
	}
	hashes := map[string]string{}
	for _, owner := range slices.Sorted(maps.Keys(byOwner)) {
		r.folded = true
		remaining, err := r.o.Facts.RemainingRejoined(ctx, owner, unit, t, byOwner[owner], lost)
		if err != nil {
			return nil, err
		}
		if forgotten := r.forgotten(unit, remaining); !lost && len(forgotten) > 0 {
			return nil, msha.Errorf("switch.rejoin", list(forgotten), "its broker lost the tail of its log: wait until they have acknowledged again", "%w any more", msha.ErrNotConfirmed)
		}
		witnesses := []string{owner, unit}
		if lost {
			witnesses = []string{owner}
		}
		if err := r.write(ctx, remaining, witnesses); err != nil {
			return nil, err
		}
		maps.Copy(hashes, remaining.Hashes)
		done.Repeated += remaining.Repeated
	}
	if _, err := r.o.Tables.Update(ctx, func(current *msha.Table) (*msha.Table, error) {
		if !current.Away(unit) {
			return current, nil // another executor was faster, or an answer was lost
		}
		if err := r.trusted(); err != nil {
			return nil, err
		}
		return r.o.Edits.Rejoin(current, t, unit, hashes)
	}); err != nil {
		return nil, err
	}
	done.Gone = clientsOf(dead)
	if len(dead) > 0 {
		if err := r.o.Registry.Prune(ctx, dead); err != nil {
			r.o.Logger.Warn("dead processes stay in the roster", "clients", done.Gone, "error", err)
		}
	}
	return done, nil
}

// returned looks whether the unit answers, and whether each of its processes has acknowledged the table or is gone; it returns those that
// are. The mark comes first, as in confirm.
func (r *run) returned(ctx context.Context, unit string) (dead []msha.RosterMember, err error) {
	if r.marked < r.order.Version {
		if err := r.o.Cluster.Mark(ctx, unit, r.order.Version); err != nil {
			return nil, err
		}
		r.marked = r.order.Version
	}
	s, err := r.look(ctx, unit, 0)
	if err != nil {
		return nil, err
	}
	if waiting := r.unconfirmed(s); len(waiting) > 0 {
		return nil, msha.Errorf("switch.rejoin", list(waiting), "stop it if it hangs", "%w", msha.ErrNotConfirmed)
	}
	for _, m := range s.members {
		if s.acks[m.ClientID] < r.order.Version {
			dead = append(dead, m)
		}
	}
	return dead, nil
}
