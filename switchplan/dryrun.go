package switchplan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-msha/msha"
)

// Outlook is what one group of a losing unit would leave to the new owner of a move. Parts of a set share their facts until they move, and
// what was not read yet is of any route, so the numbers are upper bounds; agents publish what they finished every second.
type Outlook struct {
	Set      string `json:"set"` // the move's new set
	Group    string `json:"group"`
	Pending  int64  `json:"pending"`  // read and not finished
	Retrying int64  `json:"retrying"` // failed, their retry copies are on the way
	Backlog  int64  `json:"backlog"`  // stored and not read yet; -1: nobody can tell
}

// Forecast is what a dry run found.
type Forecast struct {
	Task     string           `json:"task"`  // of the plan
	Ready    bool             `json:"ready"` // a switch would begin at once
	Moves    []MoveForecast   `json:"moves"`
	Steps    []string         `json:"steps"`              // phases and users' steps, in order
	Confirm  []MemberForecast `json:"confirm"`            // who would have to acknowledge
	Unknown  []ClientForecast `json:"unknown,omitempty"`  // clients of managed groups that do not know the routes: they would stop the switch
	Allowed  []ClientForecast `json:"allowed,omitempty"`  // the same, of groups that the request allows
	Others   []OtherGroup     `json:"others,omitempty"`   // unmanaged groups of the losing units: nobody routes their messages
	Lag      []Lag            `json:"lag"`                // of the copies towards the gaining units
	Again    int64            `json:"again,omitempty"`    // a replay: so many messages would be processed once more, at most
	Forced   *ForcedForecast  `json:"forced,omitempty"`   // a forced switch
	Guards   []GuardHit       `json:"guards,omitempty"`   // what guards say
	Problems []string         `json:"problems,omitempty"` // what else would make the switch fail, or could not be found out
}

// ForcedForecast is what a forced switch would do, by the copies that the gaining units have. What is not copied waits for the losing units.
type ForcedForecast struct {
	Pending  int64 `json:"pending"`  // messages that the losing units had read and, as far as is known, not finished; all groups together
	Repeated int64 `json:"repeated"` // at most so many messages may have been processed already
}

// MoveForecast is one move.
type MoveForecast struct {
	Set    string          `json:"set"` // the new one
	Values []string        `json:"values"`
	From   string          `json:"from"`
	To     string          `json:"to"`
	Groups []GroupForecast `json:"groups"`
}

// GroupForecast is what a move means for one group.
type GroupForecast struct {
	Outlook
	Agents int `json:"agents"` // processes that consume in the group in the gaining unit
}

// MemberForecast is one process of a losing unit's roster.
type MemberForecast struct {
	Client    string   `json:"client"`
	Unit      string   `json:"unit"`
	Groups    []string `json:"groups,omitempty"`
	Connected bool     `json:"connected"`
	Wait      string   `json:"wait,omitempty"` // how long the switch would wait before it begins, for this process's gate to close
}

// ClientForecast is a connection that is in no roster.
type ClientForecast struct {
	Client string `json:"client"`
	Unit   string `json:"unit"`
	Group  string `json:"group"`
}

// OtherGroup is a group without agents and its connected clients.
type OtherGroup struct {
	Unit    string   `json:"unit"`
	Group   string   `json:"group"`
	Clients []string `json:"clients"`
}

// String is a few lines for people.
func (f *Forecast) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dry run %s: ready %t\n", f.Task, f.Ready)
	for _, m := range f.Moves {
		fmt.Fprintf(&b, "move %s: %s -> %s\n", list(m.Values), m.From, m.To)
		for _, g := range m.Groups {
			fmt.Fprintf(&b, "  group %s: %d pending, %d retrying, %s not read yet; %d agents in %s\n", g.Group, g.Pending, g.Retrying, count(g.Backlog), g.Agents, m.To)
		}
	}
	if f.Forced != nil {
		fmt.Fprintf(&b, "forced: %d pending, at most %d messages possibly repeated; what is not copied waits for the unit's return\n", f.Forced.Pending, f.Forced.Repeated)
	}
	if f.Again > 0 {
		fmt.Fprintf(&b, "replay: at most %d messages once more\n", f.Again)
	}
	for _, m := range f.Confirm {
		wait := "connected"
		if !m.Connected {
			wait = "not connected, waits " + m.Wait
		}
		fmt.Fprintf(&b, "confirm: %s in %s, %s\n", m.Client, m.Unit, wait)
	}
	for _, c := range f.Unknown {
		fmt.Fprintf(&b, "unknown client: %s of group %s in %s\n", c.Client, c.Group, c.Unit)
	}
	for _, l := range f.Lag {
		fmt.Fprintf(&b, "not copied from %s to %s: %s\n", l.From, l.To, count(l.Messages))
	}
	for _, h := range f.Guards {
		fmt.Fprintf(&b, "guard %s: %s: %s\n", h.Guard, h.Where, h.What)
	}
	for _, p := range f.Problems {
		b.WriteString("problem: " + p + "\n")
	}
	return b.String()
}

func count(n int64) string {
	if n == msha.Unknown {
		return "unknown"
	}
	return fmt.Sprint(n)
}

// DryRun validates what the check phase validates and says what a switch would do now; nothing is changed. Errors are those of Run: ErrConflict
// or ErrInvalid for a plan that does not fit the table, ErrBusy, ErrUnsafe, ErrNotFound for steps without code. What guards, unknown
// clients and missing facts would do is in the forecast.
func (e *Executor) DryRun(ctx context.Context, plan *msha.Plan) (*Forecast, error) {
	if err := checkPlan(plan); err != nil {
		return nil, err
	}
	plan, err := bind(plan, e.o.Steps)
	if err != nil {
		return nil, err
	}
	if err := e.trusted(); err != nil {
		return nil, err
	}
	orders, err := ReadOrders(ctx, e.o.Store)
	if err != nil {
		return nil, err
	}
	if err := orders.refuse(&Order{ID: plan.ID, Plan: *plan, Manager: e.o.Manager}); err != nil {
		return nil, err
	}
	s, outlooks, err := e.situation(ctx, plan, true)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkMoves(s.table, plan), checkUnits(plan, s.units, s.table), checkAllowed(plan, s)); err != nil {
		return nil, err
	}
	f := &Forecast{Task: plan.ID, Lag: s.lags, Guards: e.o.Guards.judge(plan, s), Confirm: []MemberForecast{}}
	for _, step := range plan.Steps {
		f.Steps = append(f.Steps, step.Name)
	}
	blocked := s.pendingErr != nil
	if blocked {
		f.Problems = append(f.Problems, s.pendingErr.Error())
	}
	f.Moves = forecastMoves(plan, s, outlooks)
	for _, unit := range neededUnits(plan) {
		if err := e.o.Facts.Present(ctx, unit); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			blocked = true
			f.Problems = append(f.Problems, err.Error())
		}
	}
	if plan.Request.Replay != nil {
		if f.Again, err = e.again(ctx, plan, s.table); err != nil {
			blocked = true
			f.Problems = append(f.Problems, err.Error())
		}
	}
	asked := losers(plan)
	if plan.Request.Forced {
		asked = nil
		if f.Forced, err = e.foreseeForced(ctx, plan, s.table); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			blocked = true
			f.Problems = append(f.Problems, err.Error())
		}
	}
	for _, unit := range asked {
		if err := e.foresee(ctx, f, plan, unit); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			blocked = true
			f.Problems = append(f.Problems, unit+": "+err.Error())
		}
	}
	f.Ready = !blocked && len(f.Unknown) == 0 && refusal(f.Guards) == nil && !slices.ContainsFunc(f.Confirm, func(m MemberForecast) bool { return !m.Connected })
	return f, nil
}

func forecastMoves(plan *msha.Plan, s situation, outlooks []Outlook) []MoveForecast {
	out := make([]MoveForecast, 0, len(plan.Moves))
	for _, m := range plan.Moves {
		f := MoveForecast{Set: m.NewSet, Values: moved(&msha.Plan{Moves: []msha.Move{m}}), From: m.From, To: m.To, Groups: []GroupForecast{}}
		for _, o := range outlooks {
			if o.Set != m.NewSet {
				continue
			}
			g := GroupForecast{Outlook: o}
			for _, t := range s.targets {
				if t.unit == m.To {
					g.Agents = t.agents(o.Group)
				}
			}
			f.Groups = append(f.Groups, g)
		}
		out = append(out, f)
	}
	return out
}

// foresee looks at a losing unit as the check phase does.
func (e *Executor) foresee(ctx context.Context, f *Forecast, plan *msha.Plan, unit string) error {
	r := e.newRun(Order{ID: plan.ID, Plan: *plan})
	var s *sighting
	var err error
	for look := range strangerLooks { // one that just left may be listed for a moment
		if look > 0 {
			if err := r.sleep(ctx); err != nil {
				return err
			}
		}
		if s, err = r.look(ctx, unit, 0); err != nil {
			return err
		}
		if len(s.strangers) == 0 {
			break
		}
	}
	for _, m := range s.members {
		forecast := MemberForecast{Client: m.ClientID, Unit: unit, Groups: m.Groups, Connected: true}
		if _, absent := r.absent[sessionOf(m)]; absent {
			forecast.Connected, forecast.Wait = false, e.o.GateWindow.String()
		}
		f.Confirm = append(f.Confirm, forecast)
	}
	for _, stranger := range s.strangers {
		f.Unknown = append(f.Unknown, ClientForecast{stranger.client, unit, stranger.group})
	}
	for _, stranger := range s.allowed {
		f.Allowed = append(f.Allowed, ClientForecast{stranger.client, unit, stranger.group})
	}
	e.otherGroups(ctx, f, unit, s.groups)
	return nil
}

// foreseeForced asks the gaining units what they would get.
func (e *Executor) foreseeForced(ctx context.Context, plan *msha.Plan, table *msha.Table) (*ForcedForecast, error) {
	f := &ForcedForecast{}
	for _, part := range pairs(plan.Moves) {
		r, err := e.o.Facts.RemainingForced(ctx, part[0].From, part[0].To, table, part, partial(plan))
		if err != nil {
			return nil, err
		}
		f.Pending += r.Count
		f.Repeated += r.Repeated
	}
	return f, nil
}

// otherGroups lists whose messages nobody routes. That they cannot be listed stops no switch.
func (e *Executor) otherGroups(ctx context.Context, f *Forecast, unit string, managed []string) {
	surveyor, ok := e.o.Cluster.(Surveyor)
	if !ok {
		return
	}
	consumers, err := surveyor.Consumers(ctx, unit)
	if err != nil {
		f.Problems = append(f.Problems, unit+": its other groups are not known: "+err.Error())
		return
	}
	for _, group := range slices.Sorted(maps.Keys(consumers)) {
		if clients := consumers[group]; len(clients) > 0 && !slices.Contains(managed, group) {
			f.Others = append(f.Others, OtherGroup{unit, group, clients})
		}
	}
}
