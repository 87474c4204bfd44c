package switchplan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// The guards refuse a switch that is possible but unwise. A request can override each by name; that is recorded in order and report.
const (
	GuardUnits    = "keep-units"     // live units go on owning routes
	GuardInterval = "min-interval"   // the same routes did not move a moment ago
	GuardTarget   = "target-alive"   // somebody will process the routes in the gaining unit
	GuardLag      = "lag-limit"      // what has to be copied and taken over is bounded
	GuardNeedless = "needless-force" // a forced switch is for units that cannot be asked
	GuardFacts    = "missing-facts"  // a forced switch knows something of every group that the losing unit manages
)

// allowUnmanaged stands before a group in the records of what was passed by.
const allowUnmanaged = "allow-unmanaged="

var guardNames = []string{GuardUnits, GuardInterval, GuardTarget, GuardLag, GuardNeedless, GuardFacts}

// Guards sets the limits. The zero value is valid: one unit stays on, the target must be alive, nothing else is limited.
type Guards struct {
	KeepUnits       int           // live units that must own routes after a switch; 0: 1
	AllowDeadTarget bool          // a gaining unit where nobody consumes is no reason to refuse
	MinInterval     time.Duration // between the commits of two switches of a route, since this process first saw the earlier one; 0: none
	MaxLag          int64         // messages of the losing unit not yet copied to the gaining one; 0: no limit
	MaxPending      int64         // messages the new owners would have to take over; 0: no limit
}

// GuardHit says why a guard refuses.
type GuardHit struct {
	Guard      string `json:"guard"`
	Where      string `json:"where"`
	What       string `json:"what"`
	Hint       string `json:"hint"`
	Overridden bool   `json:"overridden,omitempty"`
}

func (h GuardHit) err() error {
	return msha.Errorf("switch.check", h.Where, h.Hint+"; or override="+h.Guard, "%w: %s: %s", msha.ErrGuard, h.Guard, h.What)
}

// refusal joins the hits that are not overridden; nil if there are none.
func refusal(hits []GuardHit) error {
	var all []error
	for _, h := range hits {
		if !h.Overridden {
			all = append(all, h.err())
		}
	}
	return errors.Join(all...)
}

// situation is what guards judge.
type situation struct {
	table   *msha.Table
	units   *msha.Units
	managed []string // groups of the losing units
	recent  []movedBefore
	targets []targetSight
	lags    []Lag
	// pending is what would be taken over; pendingErr if it cannot be told.
	pending    int64
	pendingErr error
	healthy    []string // losing units of a forced switch where every process of the roster is connected
}

// movedBefore is an earlier switch that moved one of the routes.
type movedBefore struct {
	order string
	ago   time.Duration // since this process first saw it
}

// targetSight is a look at a gaining unit.
type targetSight struct {
	unit    string
	groups  []string            // managed in the losing units
	members []msha.RosterMember // of the gaining unit
	clients map[string][]string // connected there, by group
	err     error               // why it cannot be looked at: as a rule its brokers do not answer
}

// judge is the decision of all guards.
func (g Guards) judge(plan *msha.Plan, s situation) []GuardHit {
	var hits []GuardHit
	hits = append(hits, g.units(plan, s)...)
	hits = append(hits, g.interval(s.recent)...)
	for _, t := range s.targets {
		hits = append(hits, g.target(t)...)
	}
	hits = append(hits, g.lag(plan, s)...)
	for _, unit := range s.healthy {
		hits = append(hits, GuardHit{
			Guard: GuardNeedless, Where: "unit " + unit, What: "the unit answers, and all its processes are connected: they can be asked",
			Hint: "use a switch that is not forced: it repeats nothing",
		})
	}
	for i, h := range hits {
		hits[i].Overridden = slices.Contains(plan.Request.Override, h.Guard)
	}
	return hits
}

// units counts who owns routes after the switch.
func (g Guards) units(plan *msha.Plan, s situation) []GuardHit {
	owners := map[string]string{} // by set
	for _, r := range s.table.Rules {
		owners[r.Set] = s.table.Sets[r.Set].Owner
	}
	for _, m := range plan.Moves {
		if m.Whole {
			delete(owners, m.Set)
		}
		owners[m.NewSet] = m.To
	}
	live := map[string]bool{}
	for _, owner := range owners {
		if info, ok := s.units.Find(owner); ok && info.State != Quarantined {
			live[owner] = true
		}
	}
	want := max(g.KeepUnits, 1)
	if len(live) >= want {
		return nil
	}
	return []GuardHit{{
		Guard: GuardUnits, Where: "units " + list(s.units.Names()),
		What: fmt.Sprintf("%d live units would own routes afterwards (%s), the least is %d", len(live), list(keys(live)), want),
		Hint: "move the routes to a live unit, or fewer of them",
	}}
}

func (g Guards) interval(recent []movedBefore) (hits []GuardHit) {
	for _, r := range recent {
		if r.ago < g.MinInterval {
			hits = append(hits, GuardHit{
				Guard: GuardInterval, Where: "order " + r.order,
				What: fmt.Sprintf("it moved the same routes, seen here %s ago; the least interval is %s", r.ago.Round(time.Millisecond), g.MinInterval),
				Hint: "wait " + (g.MinInterval - r.ago).Round(time.Millisecond).String(),
			})
		}
	}
	return hits
}

// target wants one process of package agent in a managed group that the brokers list.
func (g Guards) target(t targetSight) []GuardHit {
	hit := GuardHit{Guard: GuardTarget, Where: "unit " + t.unit}
	switch {
	case g.AllowDeadTarget:
		return nil
	case t.err != nil:
		hit.What, hit.Hint = "nobody can see who consumes there: "+t.err.Error(), "repair the unit, or choose another one"
		return []GuardHit{hit}
	case t.consumed():
		return nil
	}
	hit.What = "nobody consumes there: no process of package agent is in the roster and connected in " + groupsText(t.groups)
	hit.Hint = "start the application in the unit first"
	return []GuardHit{hit}
}

func groupsText(groups []string) string {
	if len(groups) == 0 {
		return "any group"
	}
	return "group " + strings.Join(groups, " or ")
}

func (t targetSight) consumed() bool {
	return slices.ContainsFunc(t.groups, func(group string) bool { return t.agents(group) > 0 })
}

// agents counts the members that consume in a group.
func (t targetSight) agents(group string) (n int) {
	for _, m := range t.members {
		if (len(m.Groups) == 0 || slices.Contains(m.Groups, group)) && slices.Contains(t.clients[group], m.ClientID) {
			n++
		}
	}
	return n
}

// lag refuses what is too much, and what nobody can count if there is a limit.
func (g Guards) lag(plan *msha.Plan, s situation) (hits []GuardHit) {
	for _, l := range s.lags {
		what := fmt.Sprintf("%d messages are not copied to %s, the limit is %d", l.Messages, l.To, g.MaxLag)
		if l.Messages == msha.Unknown {
			what = fmt.Sprintf("nobody can tell how many messages are not copied to %s: %s", l.To, l.Error)
		}
		if g.MaxLag > 0 && (l.Messages > g.MaxLag || l.Messages == msha.Unknown) {
			hits = append(hits, GuardHit{Guard: GuardLag, Where: "unit " + l.From, What: what, Hint: "wait for the replicators of " + l.From + ", or see why they are behind"})
		}
	}
	if g.MaxPending > 0 && (s.pendingErr != nil || s.pending > g.MaxPending || s.pending == msha.Unknown) {
		what := fmt.Sprintf("%d messages would be taken over, the limit is %d", s.pending, g.MaxPending)
		if s.pendingErr != nil || s.pending == msha.Unknown {
			what = fmt.Sprintf("nobody can tell how many messages would be taken over: %v", s.pendingErr)
		}
		hits = append(hits, GuardHit{Guard: GuardLag, Where: "units " + list(losers(plan)), What: what, Hint: "let them work their backlog off"})
	}
	return hits
}

// sameRoutes says whether an earlier plan moved a route that a new one moves. All that is in a set now moved with it.
func sameRoutes(earlier, plan *msha.Plan) bool {
	for _, e := range earlier.Moves {
		for _, m := range plan.Moves {
			if e.NewSet == m.Set || common(e.Values, m.Values) {
				return true
			}
		}
	}
	return false
}
