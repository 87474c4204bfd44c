package switchplan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what survives a process: the metastore, the logs and the agents of the units.
type world struct {
	mu       sync.Mutex
	docs     map[string]msha.Document
	revs     map[string]msha.Revision
	table    *msha.Table
	units    *msha.Units
	roster   msha.Roster
	clients  map[string][]string          // "unit/group" -> client ids
	acks     map[string]map[string]uint64 // unit -> client id -> version
	mute     map[string]bool              // clients that do not acknowledge
	handed   map[string]string            // "unit/set/hash" -> from
	without  map[string][]string          // unit -> groups without facts
	away     map[string][]string          // unit -> known brokers that are not registered
	pending  int64
	arriving int64            // what the gaining unit has pulled since the commit, at any time
	lag      map[string]int64 // "from>to"
	blind    error            // of everything that is counted before a switch
	down     map[string]error // units whose brokers do not answer
	noUnits  error            // of reading the unit document
	dry      bool             // nothing is switched: what remains may be asked without a fence
	commits  int
	rejoins  int
	log      strings.Builder

	repeated int64                    // of every hand-over that is forced or of a unit that is back
	missing  func(partial bool) error // what a forced hand-over, or one for a unit that is back, lacks
	asked    []string                 // what was asked of a losing unit, or of copies of its log
}

// asks notes a call that needs a losing unit to answer.
func (w *world) asks(what, unit string) error {
	w.asked = append(w.asked, what+" "+unit)
	return w.down[unit]
}

func newWorld() *world {
	w := &world{
		docs: map[string]msha.Document{}, revs: map[string]msha.Revision{}, table: table(), units: units("unit-1", "unit-2"),
		clients: map[string][]string{"unit-2/channel": {"c1", "c2"}, "unit-1/channel": {"other"}}, acks: map[string]map[string]uint64{"unit-2": {}},
		mute: map[string]bool{}, handed: map[string]string{},
	}
	w.units.Units[1].Groups = []string{"channel"}
	for _, id := range []string{"c1", "c2"} {
		w.roster = w.roster.With(msha.RosterMember{ClientID: id, Unit: "unit-2", Groups: []string{"channel"}})
	}
	w.roster = w.roster.With(msha.RosterMember{ClientID: "other", Unit: "unit-1", Groups: []string{"channel"}})
	return w
}

var errDead = errors.New("process is dead")

// process is one manager's view of the world. It can be killed at its n-th call, before or after the call has its effect.
type process struct {
	*world
	name   string
	killAt int // 0: never
	after  bool
	once   bool // only this call fails
	calls  int
	unsafe atomic.Pointer[error] // what the store says of itself; nil: it is safe
}

// Safe implements msha.SafetyReporter.
func (p *process) Safe() error {
	if err := p.unsafe.Load(); err != nil {
		return *err
	}
	return nil
}

func (p *process) turnsUnsafe() {
	err := fmt.Errorf("%w: compare-and-set is ignored", msha.ErrUnsafe)
	p.unsafe.Store(&err)
}

func (p *process) do(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.once && p.calls > p.killAt {
		return f()
	}
	if p.killAt > 0 && (p.calls > p.killAt || p.calls == p.killAt && !p.after) {
		return errDead
	}
	err := f()
	if p.killAt > 0 && p.calls == p.killAt {
		return errDead
	}
	return err
}

func (p *process) Get(ctx context.Context, key string) (doc msha.Document, err error) {
	err = p.do(ctx, func() error {
		var ok bool
		if doc, ok = p.docs[key]; !ok {
			return msha.ErrNotFound
		}
		return nil
	})
	return doc, err
}

func (p *process) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (rev msha.Revision, err error) {
	err = p.do(ctx, func() error {
		if p.docs[key].Revision != expect {
			return msha.ErrConflict
		}
		p.revs[key]++
		rev = p.revs[key]
		p.docs[key] = msha.Document{Key: key, Value: slices.Clone(value), Revision: rev}
		return nil
	})
	return rev, err
}

func (p *process) Delete(context.Context, string, msha.Revision) error { panic("not used") }
func (p *process) Watch(context.Context, string) (<-chan msha.Document, error) {
	panic("not used")
}
func (p *process) Close() error { return nil }

func (p *process) Current(ctx context.Context) (t *msha.Table, err error) {
	err = p.do(ctx, func() error { t = p.table; return nil })
	return t, err
}

func (p *process) Update(ctx context.Context, edit func(*msha.Table) (*msha.Table, error)) (t *msha.Table, err error) {
	err = p.do(ctx, func() error {
		next, err := edit(p.table)
		if err != nil {
			return err
		}
		p.table, t = next, next
		for of, ids := range p.clients { // agents that see the table acknowledge it
			unit, _, _ := strings.Cut(of, "/")
			for _, id := range ids {
				if !p.mute[id] {
					p.knows(unit, id)
				}
			}
		}
		return nil
	})
	return t, err
}

// knows lets a process acknowledge the table as it is; the lock is held.
func (w *world) knows(unit, client string) {
	if w.acks[unit] == nil {
		w.acks[unit] = map[string]uint64{}
	}
	w.acks[unit][client] = w.table.Version
}

func edited(t *msha.Table, f func(*msha.Table)) *msha.Table {
	out := &msha.Table{Version: t.Version + 1, Rules: slices.Clone(t.Rules), Sets: maps.Clone(t.Sets)}
	f(out)
	return out.Index()
}

func (p *process) Fence(t *msha.Table, plan *msha.Plan) (*msha.Table, error) {
	return edited(t, func(t *msha.Table) {
		for _, m := range plan.Moves {
			s := t.Sets[m.Set]
			s.ID, s.State, s.Switch, s.Deadline = m.NewSet, msha.SetFenced, plan.ID, plan.Deadline
			t.Sets[m.NewSet] = s
			for i, r := range t.Rules {
				if r.Kind == msha.RuleExact && slices.Contains(m.Values, r.Value) {
					t.Rules[i].Set = m.NewSet
				}
			}
		}
	}), nil
}

func (p *process) Abort(t *msha.Table, id string) (*msha.Table, error) {
	return edited(t, func(t *msha.Table) {
		for k, s := range t.Sets {
			if s.Switch == id {
				s.Aborting = true
				t.Sets[k] = s
			}
		}
	}), nil
}

func (p *process) Reopen(t *msha.Table, id string) (*msha.Table, error) {
	return edited(t, func(t *msha.Table) {
		for k, s := range t.Sets {
			if s.Switch == id {
				s.State, s.Switch, s.Deadline, s.Aborting = msha.SetOpen, "", 0, false
				t.Sets[k] = s
			}
		}
	}), nil
}

func (p *process) Commit(t *msha.Table, plan *msha.Plan, hashes map[string]string) (*msha.Table, error) {
	p.commits++
	return edited(t, func(t *msha.Table) {
		for _, m := range plan.Moves {
			was := t.Sets[m.NewSet]
			s := msha.RouteSet{ID: m.NewSet, Owner: m.To, Term: m.Term + 1, State: msha.SetOpen, RemainingHash: hashes[m.NewSet], Forced: was.Forced}
			if plan.Request.Forced {
				lost := msha.ForcedTerm{Unit: m.From, Set: was.FactsSet(), Term: was.Term, RemainingHash: was.RemainingHash}
				s.Forced = append(slices.Clone(s.Forced), lost)
			}
			t.Sets[m.NewSet] = s
		}
	}), nil
}

func (p *process) Rejoin(t, from *msha.Table, unit string, hashes map[string]string) (*msha.Table, error) {
	for id, s := range t.Sets {
		if _, forced := s.ForcedFrom(unit); forced && (s.Term != from.Sets[id].Term || s.State != msha.SetOpen || hashes[id] == "") {
			return nil, fmt.Errorf("%w: set %s", msha.ErrConflict, id)
		}
	}
	p.rejoins++
	return edited(t, func(t *msha.Table) {
		for id, s := range t.Sets {
			if _, forced := s.ForcedFrom(unit); forced {
				s.Forced = slices.DeleteFunc(slices.Clone(s.Forced), func(f msha.ForcedTerm) bool { return f.Unit == unit })
				s.RemainingHash = hashes[id]
				t.Sets[id] = s
			}
		}
	}), nil
}

func (p *process) Units(ctx context.Context) (u *msha.Units, err error) {
	err = p.do(ctx, func() error { u = p.units; return p.noUnits })
	return u, err
}

func (p *process) Roster(ctx context.Context) (r msha.Roster, err error) {
	err = p.do(ctx, func() error { r = p.roster; return nil })
	return r, err
}

func (p *process) Prune(ctx context.Context, dead []msha.RosterMember) error {
	return p.do(ctx, func() error { p.roster = p.roster.Prune(dead); return nil })
}

func (p *process) Acks(ctx context.Context, unit string) (acks map[string]uint64, err error) {
	err = p.do(ctx, func() error { acks = maps.Clone(p.acks[unit]); return p.asks("acks", unit) })
	return acks, err
}

func (p *process) Mark(ctx context.Context, unit string, _ uint64) error {
	return p.do(ctx, func() error { return p.asks("mark", unit) })
}

func (p *process) Clients(ctx context.Context, unit string, groups []string) (ids map[string][]string, err error) {
	err = p.do(ctx, func() error {
		ids = map[string][]string{}
		for _, group := range groups {
			ids[group] = slices.Clone(p.clients[unit+"/"+group])
		}
		return p.asks("clients", unit)
	})
	return ids, err
}

func (p *process) Present(ctx context.Context, unit string) error {
	return p.do(ctx, func() error {
		if away := p.away[unit]; len(away) > 0 {
			return fmt.Errorf("master %w: %s", msha.ErrNotFound, strings.Join(away, ", "))
		}
		return p.asks("brokers", unit)
	})
}

func (p *process) Missing(ctx context.Context, unit string) (missing []string, err error) {
	err = p.do(ctx, func() error { missing = p.without[unit]; return p.asks("missing", unit) })
	return missing, err
}

func (p *process) Remaining(ctx context.Context, unit string, t *msha.Table, moves []msha.Move) (*switchplan.Remaining, error) {
	r := &switchplan.Remaining{Hashes: map[string]string{}, Facts: unit}
	return r, p.do(ctx, func() error {
		r.Acks = maps.Clone(p.acks[unit])
		if err := p.asks("remaining", unit); err != nil {
			return err
		}
		for _, m := range moves {
			if t.Sets[m.NewSet].State != msha.SetFenced || m.From != unit {
				return fmt.Errorf("remaining of %s asked while not fenced", m.NewSet)
			}
			for _, member := range p.roster.Members {
				if member.Unit == unit && p.acks[unit][member.ClientID] < t.Version {
					return fmt.Errorf("remaining asked before %s acknowledged", member.ClientID)
				}
			}
			r.Hashes[m.NewSet] = fmt.Sprintf("hash of %s after %d", m.NewSet, m.Term)
		}
		return nil
	})
}

func (p *process) RemainingForced(ctx context.Context, unit, to string, t *msha.Table, moves []msha.Move, partial bool) (*switchplan.Remaining, error) {
	r := &switchplan.Remaining{Hashes: map[string]string{}, Facts: "copies of " + unit}
	return r, p.do(ctx, func() error {
		if p.missing != nil {
			if err := p.missing(partial); err != nil {
				return err
			}
		}
		for _, m := range moves {
			if !p.dry && t.Sets[m.NewSet].State != msha.SetFenced || m.From != unit || m.To != to {
				return fmt.Errorf("remaining of %s asked while not fenced", m.NewSet)
			}
			r.Hashes[m.NewSet] = fmt.Sprintf("hash of %s forced after %d", m.NewSet, m.Term)
		}
		r.Count, r.Repeated = p.pending, p.repeated
		return nil
	})
}

func (p *process) RemainingAgain(ctx context.Context, unit string, t *msha.Table, moves []msha.Move, replay *msha.Replay) (*switchplan.Remaining, error) {
	r := &switchplan.Remaining{Hashes: map[string]string{}, Facts: unit}
	return r, p.do(ctx, func() error {
		r.Acks = maps.Clone(p.acks[unit])
		for _, m := range moves {
			r.Hashes[m.NewSet] = fmt.Sprintf("hash of %s after %d with %s since %s", m.NewSet, m.Term, replay.Group, replay.Since.UTC().Format(time.TimeOnly))
		}
		r.Repeated = 42
		return nil
	})
}

func (p *process) RemainingRejoined(ctx context.Context, owner, unit string, t *msha.Table, sets []string, lost bool) (*switchplan.Remaining, error) {
	r := &switchplan.Remaining{Hashes: map[string]string{}, Facts: "log of " + unit}
	if lost {
		r.Facts = "copies of " + unit
	}
	return r, p.do(ctx, func() error {
		r.Acks = maps.Clone(p.acks[unit])
		if !lost {
			if err := p.asks("remaining", unit); err != nil {
				return err
			}
		}
		if p.missing != nil {
			if err := p.missing(lost); err != nil {
				return err
			}
		}
		for _, id := range sets {
			if s := t.Sets[id]; s.Owner != owner || s.State != msha.SetOpen {
				return fmt.Errorf("remaining of %s asked of %s: %+v", id, owner, s)
			}
			r.Hashes[id] = fmt.Sprintf("hash of %s with %s in %d", id, unit, t.Sets[id].Term)
		}
		r.Repeated = p.repeated
		return nil
	})
}

func (p *process) HandOver(ctx context.Context, unit string, r *switchplan.Remaining) error {
	return p.do(ctx, func() error {
		for set, hash := range r.Hashes {
			p.handed[unit+"/"+set+"/"+hash] = r.Facts.(string)
		}
		return nil
	})
}

func (p *process) Pulled(ctx context.Context, unit string) (pulled switchplan.Pulled, err error) {
	err = p.do(ctx, func() error {
		for client, version := range p.acks[unit] {
			if version < p.table.Version && p.connected(unit, client) {
				return fmt.Errorf("asked how far %s has pulled before %s acknowledged", unit, client)
			}
		}
		pulled = switchplan.Pulled{"channel": {}}
		return nil
	})
	return pulled, err
}

func (w *world) connected(unit, client string) bool {
	return slices.Contains(w.clients[unit+"/channel"], client)
}

func (p *process) Progress(ctx context.Context, unit string, moves []msha.Move, upTo switchplan.Pulled) (pr switchplan.Progress, err error) {
	err = p.do(ctx, func() error {
		for _, m := range moves {
			if s := p.table.Sets[m.NewSet]; s.Owner != unit || s.Term <= m.Term {
				return fmt.Errorf("progress of %s asked before the commit", m.NewSet)
			}
		}
		p.pending = max(0, p.pending-40)
		pr = switchplan.Progress{Pending: p.pending, TakenOver: 100 - p.pending}
		if upTo == nil {
			pr.Pending += p.arriving
		}
		return nil
	})
	return pr, err
}

type lockedLog struct{ *world }

func (l lockedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(b)
}

func (p *process) executor(t *testing.T, edit ...func(*switchplan.Options)) *switchplan.Executor {
	o := &switchplan.Options{
		Store: p, Tables: p, Edits: p, Registry: p, Cluster: p, Facts: p, Manager: p.name,
		Logger: slog.New(slog.NewTextHandler(lockedLog{p.world}, nil)),
	}
	for _, f := range edit {
		f(o)
	}
	e, err := switchplan.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (w *world) plan(t *testing.T, req msha.SwitchRequest) *msha.Plan {
	w.mu.Lock()
	defer w.mu.Unlock()
	plan, err := new(switchplan.Planner).Plan(context.Background(), req, msha.View{Table: w.table, Units: w.units})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func (w *world) order(t *testing.T, id string) switchplan.Order {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all switchplan.Orders
	if doc, ok := w.docs[msha.SwitchKey]; ok {
		if err := json.Unmarshal(doc.Value, &all); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range all.Orders {
		if o.ID == id {
			return o
		}
	}
	return switchplan.Order{}
}

func (w *world) set(value string) msha.RouteSet {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, _ := w.table.Lookup(value, "")
	return s
}
