package switchplan

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-msha/msha"
)

// Surveyor is an optional interface of a Cluster that can tell what a switch does not need: for dry runs and guards.
type Surveyor interface {
	// Consumers lists the clients connected in each consumer group on any broker of the unit.
	Consumers(ctx context.Context, unit string) (map[string][]string, error)
	// Lag counts the messages stored in one unit that are not copied to another one.
	Lag(ctx context.Context, from, to string) (int64, error)
}

// Lag is how far the copies of a losing unit's messages are behind in a gaining one.
type Lag struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Messages int64  `json:"messages"` // -1: nobody can tell
	Error    string `json:"error,omitempty"`
}

// noteMoved remembers that an order has moved its routes, since this process first saw it: clocks of machines do not compare.
func (e *Executor) noteMoved(o *Order) {
	if e.o.Guards.MinInterval <= 0 || o.Plan.Request.Replay != nil || o.State != StateCommitted && o.State != StateDone {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.movedAt[o.ID]; !known {
		e.movedAt[o.ID] = movedOrder{plan: o.Plan, at: now()}
	}
}

// movedOrder is an order whose routes have moved. It is remembered while the document keeps it, and at least for the least interval.
type movedOrder struct {
	plan msha.Plan
	at   time.Time
}

// recent are the orders that moved a route of the plan.
func (e *Executor) recent(plan *msha.Plan, orders *Orders) (out []movedBefore) {
	if plan.Request.Replay != nil {
		return nil // it moves nothing
	}
	for i := range orders.Orders {
		e.noteMoved(&orders.Orders[i])
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, m := range e.movedAt {
		ago := now().Sub(m.at)
		if ago >= e.o.Guards.MinInterval && orders.find(id) == nil {
			delete(e.movedAt, id)
		} else if id != plan.ID && sameRoutes(&m.plan, plan) {
			out = append(out, movedBefore{order: id, ago: ago})
		}
	}
	slices.SortFunc(out, func(a, b movedBefore) int { return int(a.ago - b.ago) })
	return out
}

// situation asks what the guards need to know; everything is asked for a dry run.
func (e *Executor) situation(ctx context.Context, plan *msha.Plan, everything bool) (s situation, outlooks []Outlook, err error) {
	if s.table, err = e.o.Tables.Current(ctx); err != nil {
		return s, nil, err
	}
	if s.units, err = e.o.Registry.Units(ctx); err != nil {
		return s, nil, err
	}
	orders, err := ReadOrders(ctx, e.o.Store)
	if err != nil {
		return s, nil, err
	}
	s.recent = e.recent(plan, orders)
	roster, err := e.o.Registry.Roster(ctx)
	if err != nil {
		return s, nil, err
	}
	for _, unit := range losers(plan) {
		s.managed = append(s.managed, managed(s.units, roster, unit)...)
	}
	for _, unit := range gainers(plan) {
		if everything || !e.o.Guards.AllowDeadTarget {
			s.targets = append(s.targets, e.sightOf(ctx, unit, plan, s.units, roster))
		}
	}
	if plan.Request.Forced { // nothing can be asked of the losing units
		s.healthy = e.healthy(ctx, plan, s.units, roster)
		return s, nil, ctx.Err()
	}
	if plan.Request.Replay != nil { // nothing leaves its unit
		return s, nil, ctx.Err()
	}
	if everything || e.o.Guards.MaxLag > 0 {
		s.lags = e.lags(ctx, plan)
	}
	if everything || e.o.Guards.MaxPending > 0 {
		outlooks, s.pendingErr = e.outlooks(ctx, plan, s.table)
		for _, o := range outlooks {
			s.pending = plus(plus(plus(s.pending, o.Pending), o.Retrying), o.Backlog)
		}
	}
	return s, outlooks, ctx.Err()
}

// plus adds numbers of which one may be Unknown.
func plus(a, b int64) int64 {
	if a == msha.Unknown || b == msha.Unknown {
		return msha.Unknown
	}
	return a + b
}

// sightOf looks at a gaining unit until somebody consumes there: a process that just started is listed a moment later.
func (e *Executor) sightOf(ctx context.Context, unit string, plan *msha.Plan, units *msha.Units, roster msha.Roster) (t targetSight) {
	ctx, cancel := context.WithTimeout(ctx, plan.Deadline)
	defer cancel()
	t = targetSight{unit: unit}
	for _, loser := range losers(plan) {
		t.groups = append(t.groups, managed(units, roster, loser)...)
	}
	if len(t.groups) == 0 {
		t.groups = managed(units, roster, unit)
	}
	slices.Sort(t.groups)
	t.groups = slices.Compact(t.groups)
	for look := range strangerLooks {
		if look > 0 {
			if t.err = e.sleepFor(ctx, e.o.Poll); t.err != nil {
				return t
			}
			if roster, t.err = e.o.Registry.Roster(ctx); t.err != nil {
				continue
			}
		}
		t.members = membersOf(roster, unit)
		if t.clients, t.err = e.o.Cluster.Clients(ctx, unit, t.groups); t.err == nil && t.consumed() {
			return t
		}
	}
	return t
}

// managed are the groups of a unit that its agents or the unit document name, sorted.
func managed(units *msha.Units, roster msha.Roster, unit string) []string {
	info, _ := units.Find(unit)
	groups := slices.Clone(info.Groups)
	for _, m := range membersOf(roster, unit) {
		groups = append(groups, m.Groups...)
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

func membersOf(roster msha.Roster, unit string) (members []msha.RosterMember) {
	for _, m := range roster.Members {
		if m.Unit == unit {
			members = append(members, m)
		}
	}
	return members
}

func (e *Executor) lags(ctx context.Context, plan *msha.Plan) (lags []Lag) {
	surveyor, ok := e.o.Cluster.(Surveyor)
	for _, part := range pairs(plan.Moves) {
		l := Lag{From: part[0].From, To: part[0].To, Messages: msha.Unknown}
		if !ok {
			l.Error = "the cluster cannot tell"
		} else if n, err := surveyor.Lag(ctx, l.From, l.To); err != nil {
			l.Error = err.Error()
		} else {
			l.Messages = n
		}
		lags = append(lags, l)
	}
	return lags
}

func (e *Executor) outlooks(ctx context.Context, plan *msha.Plan, table *msha.Table) (all []Outlook, err error) {
	for _, part := range pairs(plan.Moves) {
		outlooks, failed := e.o.Facts.Outlook(ctx, part[0].From, table, part)
		all, err = append(all, outlooks...), errors.Join(err, failed)
	}
	return all, err
}

// guard returns what the guards say, and the error of those that are not overridden.
func (e *Executor) guard(ctx context.Context, plan *msha.Plan) (situation, []GuardHit, error) {
	s, _, err := e.situation(ctx, plan, false)
	if err != nil {
		return s, nil, err
	}
	if err := checkUnits(plan, s.units, s.table); err != nil {
		return s, nil, err // clearer than what a guard would say
	}
	hits := e.o.Guards.judge(plan, s)
	return s, hits, refusal(hits)
}

// checkAllowed refuses groups that there are not: a misspelt one allows nothing.
func checkAllowed(plan *msha.Plan, s situation) error {
	for _, group := range plan.Request.AllowUnmanaged {
		if !slices.Contains(s.managed, group) {
			return msha.Errorf("switch.check", allowUnmanaged+group, "managed groups of the losing units: "+list(slices.Compact(slices.Sorted(slices.Values(s.managed)))),
				"%w: the group is not managed in units %s, so its clients stop no switch", msha.ErrInvalid, list(losers(plan)))
		}
	}
	return nil
}

// stillAllowed judges the interval by the document that the order will be in.
func (e *Executor) stillAllowed(plan *msha.Plan, all *Orders) error {
	if slices.Contains(plan.Request.Override, GuardInterval) {
		return nil
	}
	return refusal(e.o.Guards.interval(e.recent(plan, all)))
}
