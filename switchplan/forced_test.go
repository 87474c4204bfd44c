package switchplan_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

var forcedGuangzhou = msha.SwitchRequest{Values: []string{"guangzhou"}, To: "unit-1", Forced: true, By: "alice"}

// loseUnit2 cuts unit-2 off: nothing there answers, and nobody there acknowledges.
func (w *world) loseUnit2() {
	w.down = map[string]error{"unit-2": errors.New("connection refused")}
	w.mute["c1"], w.mute["c2"] = true, true
}

// forced makes a plan with another override or deadline.
func forced(edit func(*msha.SwitchRequest)) msha.SwitchRequest {
	req := forcedGuangzhou
	edit(&req)
	return req
}

// timedTables notes when tables with a fence and without were written.
type timedTables struct {
	*process
	slow              time.Duration // before the fence is written
	fenced, committed time.Time
	deadline          time.Duration // of the fence
}

func (s *timedTables) Update(ctx context.Context, edit func(*msha.Table) (*msha.Table, error)) (*msha.Table, error) {
	if s.fenced.IsZero() {
		time.Sleep(s.slow)
	}
	t, err := s.process.Update(ctx, edit)
	if err != nil {
		return t, err
	}
	set, _ := t.Lookup("guangzhou", "")
	switch {
	case set.State == msha.SetFenced:
		s.fenced, s.deadline = time.Now(), set.Deadline
	case set.Owner == "unit-1":
		s.committed = time.Now()
	}
	return t, nil
}

func notes(phases []switchplan.PhaseResult) map[string]string {
	out := map[string]string{}
	for _, p := range phases {
		out[p.Phase] = p.Note
	}
	return out
}

func TestAForcedSwitchAsksNobodyInADeadUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.loseUnit2()
		w.pending, w.repeated = 100, 7
		plan := w.plan(t, forcedGuangzhou)
		began := time.Now()
		report, err := (&process{world: w}).executor(t).Run(t.Context(), plan)
		require.NoError(t, err)
		require.Less(t, time.Since(began), 100*time.Millisecond, "a unit that does not answer is not waited for")

		s := w.set("guangzhou")
		require.Equal(t, msha.RouteSet{
			ID: s.ID, Owner: "unit-1", Term: 4, State: msha.SetOpen, RemainingHash: s.RemainingHash, Forced: []msha.ForcedTerm{{Unit: "unit-2", Set: s.ID, Term: 3}},
		}, s)
		require.Equal(t, map[string]string{"unit-1/" + s.ID + "/" + s.RemainingHash: "copies of unit-2"}, w.handed, "nothing is written to the log of a unit that is lost")
		require.NotContains(t, w.asked, "mark unit-2")
		require.NotContains(t, w.asked, "remaining unit-2")
		require.Len(t, w.roster.Members, 3, "nobody is known to be gone")

		phases := notes(report.Phases)
		require.Equal(t, "forced: nobody in unit-2 is asked", phases[switchplan.Check])
		require.Equal(t, "not acknowledged: unit-2 does not answer", phases[switchplan.Drain])
		require.EqualValues(t, 7, report.PossiblyRepeated)
		order := w.order(t, plan.ID)
		require.Equal(t, switchplan.StateDone, order.State)
		require.EqualValues(t, 7, order.Repeated)
		require.True(t, order.Plan.Request.Forced)
		require.Empty(t, order.Override)
	})
}

func TestAPlannedSwitchTellsBothUnitsWhatRemains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.repeated = 7
		report, err := (&process{world: w}).executor(t).Run(t.Context(), w.plan(t, guangzhou))
		require.NoError(t, err)
		s := w.set("guangzhou")
		require.Empty(t, s.Forced)
		key := "/" + s.ID + "/" + s.RemainingHash
		require.Equal(t, map[string]string{"unit-1" + key: "unit-2", "unit-2" + key: "unit-2"}, w.handed)
		require.Zero(t, report.PossiblyRepeated)
	})
}

func TestAForceThatIsNotNeededIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		world   func(*world)
		refused bool
	}{
		"everybody is connected": {func(*world) {}, true},
		"one is not":             {func(w *world) { w.clients["unit-2/channel"] = []string{"c1"} }, false},
		"nobody is":              {func(w *world) { w.clients["unit-2/channel"] = nil }, false},
		"there is nobody":        {func(w *world) { w.roster = w.roster.Without("c1").Without("c2") }, false},
		"brokers do not answer":  {func(w *world) { w.loseUnit2() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				c.world(w)
				e := (&process{world: w}).executor(t)
				_, err := e.Run(t.Context(), w.plan(t, forcedGuangzhou))
				if !c.refused {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, msha.ErrGuard)
				require.NotErrorIs(t, err, msha.ErrAborted)
				for _, says := range []string{switchplan.GuardNeedless, "unit unit-2", "override=" + switchplan.GuardNeedless, "not forced"} {
					require.ErrorContains(t, err, says)
				}
				require.Empty(t, w.docs)
				require.EqualValues(t, 7, w.table.Version, "nothing was begun")

				f, err := e.DryRun(t.Context(), w.plan(t, forcedGuangzhou))
				require.NoError(t, err)
				require.False(t, f.Ready)
				require.Len(t, f.Guards, 1)

				plan := w.plan(t, forced(func(r *msha.SwitchRequest) { r.Override = []string{switchplan.GuardNeedless} }))
				report, err := e.Run(t.Context(), plan)
				require.NoError(t, err)
				require.Equal(t, "unit-1", w.set("guangzhou").Owner)
				require.Len(t, w.set("guangzhou").Forced, 1)
				require.Equal(t, []string{"override=" + switchplan.GuardNeedless}, w.order(t, plan.ID).Override)
				require.Len(t, report.Overrides, 1)
				require.Equal(t, switchplan.GuardNeedless, report.Overrides[0].Guard)
				require.Equal(t, "alice", report.Overrides[0].By)
				require.Equal(t, "every process of the losing units acknowledged", notes(report.Phases)[switchplan.Drain])
			})
		})
	}
}

func TestALosingUnitThatHangsDoesNotHoldTheSwitchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.mute["c1"], w.mute["c2"] = true, true
		p := &process{world: w}
		began := time.Now()
		_, err := p.executor(t, func(o *switchplan.Options) { o.Cluster = hanging{p} }).Run(t.Context(), w.plan(t, forcedGuangzhou))
		require.NoError(t, err)
		require.Less(t, time.Since(began), 3*time.Second)
		require.Equal(t, "unit-1", w.set("guangzhou").Owner)
	})
}

// hanging is a cluster whose unit-2 keeps everybody waiting.
type hanging struct{ *process }

func (h hanging) Clients(ctx context.Context, unit string, groups []string) (map[string][]string, error) {
	if unit == "unit-2" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.process.Clients(ctx, unit, groups)
}

func TestADryRunOfAForcedSwitchAsksNobodyInTheLosingUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.loseUnit2()
		w.blind, w.dry = errors.New("no copies"), true
		w.pending, w.repeated = 100, 7
		f, err := (&process{world: w}).executor(t).DryRun(t.Context(), w.plan(t, forcedGuangzhou))
		require.NoError(t, err)
		require.True(t, f.Ready, f.String())
		require.Equal(t, &switchplan.ForcedForecast{Pending: 100, Repeated: 7}, f.Forced)
		require.Contains(t, f.String(), "forced: 100 pending, at most 7 messages possibly repeated")
		require.Empty(t, f.Confirm)
		require.Empty(t, f.Problems)
		require.Empty(t, f.Unknown)
		require.NotContains(t, w.asked, "acks unit-2")

		w.missing = func(partial bool) error {
			if partial {
				return nil
			}
			return msha.ErrMissingFacts
		}
		f, err = (&process{world: w}).executor(t).DryRun(t.Context(), w.plan(t, forcedGuangzhou))
		require.NoError(t, err)
		require.False(t, f.Ready)
		require.Equal(t, []string{msha.ErrMissingFacts.Error()}, f.Problems)
		f, err = (&process{world: w}).executor(t).DryRun(t.Context(), w.plan(t, forced(func(r *msha.SwitchRequest) { r.Override = []string{switchplan.GuardFacts} })))
		require.NoError(t, err)
		require.True(t, f.Ready, f.String())
	})
}

func TestProcessesThatAreAliveAfterAllHaveAMoment(t *testing.T) {
	for name, c := range map[string]struct {
		acks  map[string]time.Duration // when a process acknowledges; it never does otherwise
		world func(*world)
		takes time.Duration
		note  string
	}{
		"both acknowledge":              {acks: map[string]time.Duration{"c1": 0, "c2": 300 * time.Millisecond}, takes: 300 * time.Millisecond, note: "every process"},
		"one does not":                  {acks: map[string]time.Duration{"c1": 0}, takes: time.Second, note: "not acknowledged: c2 ("},
		"one is too late":               {acks: map[string]time.Duration{"c1": 0, "c2": 1100 * time.Millisecond}, takes: time.Second, note: "not acknowledged: c2 ("},
		"one client cannot acknowledge": {world: func(w *world) { w.clients["unit-2/channel"] = []string{"c1", "plain"}; w.mute["plain"] = true }, takes: time.Second, note: "not acknowledged: c1 ("},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.mute["c1"], w.mute["c2"] = true, true
				if c.world != nil {
					c.world(w)
				}
				p := &timedTables{process: &process{world: w}}
				e := p.executor(t, func(o *switchplan.Options) {
					o.Tables = p
					o.Observer.Phase = func(_, phase string) {
						if phase != switchplan.Drain {
							return
						}
						for client, after := range c.acks {
							time.AfterFunc(after, func() {
								w.mu.Lock()
								defer w.mu.Unlock()
								w.acks["unit-2"][client] = 1 << 40
							})
						}
					}
				})
				report, err := e.Run(t.Context(), w.plan(t, forced(func(r *msha.SwitchRequest) { r.Override = []string{switchplan.GuardNeedless} })))
				require.NoError(t, err)
				require.InDelta(t, c.takes, p.committed.Sub(p.fenced), float64(20*time.Millisecond))
				require.True(t, strings.HasPrefix(notes(report.Phases)[switchplan.Drain], c.note), notes(report.Phases)[switchplan.Drain])
				require.Len(t, w.roster.Members, 3)
			})
		})
	}
}

func TestStrictProcessesAreWaitedFor(t *testing.T) {
	const gate = 30 * time.Second
	strict := func(w *world, clients ...string) {
		for _, id := range clients {
			w.roster = w.roster.With(msha.RosterMember{ClientID: id, Unit: "unit-2", Groups: []string{"channel"}, Strict: true})
		}
	}
	for name, c := range map[string]struct {
		world    func(*world)
		slow     time.Duration
		deadline time.Duration
		least    time.Duration
		most     time.Duration
		fence    time.Duration
		note     string
		late     bool
	}{
		"no process is strict": {world: (*world).loseUnit2, most: 100 * time.Millisecond, fence: 10 * time.Second, note: "not acknowledged: unit-2"},
		"one is":               {world: func(w *world) { w.loseUnit2(); strict(w, "c2") }, least: gate, most: gate + 100*time.Millisecond, fence: gate + 10*time.Second, note: "the gates"},
		"one is, and the metastore is slow": {
			world: func(w *world) { w.loseUnit2(); strict(w, "c1", "c2") }, slow: 3 * time.Second, least: gate, most: gate + 100*time.Millisecond, fence: gate + 10*time.Second, note: "the gates",
		},
		"one of the gaining unit is": {world: func(w *world) {
			w.loseUnit2()
			w.roster = w.roster.With(msha.RosterMember{ClientID: "other", Unit: "unit-1", Groups: []string{"channel"}, Strict: true})
		}, most: 100 * time.Millisecond, fence: 10 * time.Second, note: "not acknowledged: unit-2"},
		"all acknowledge":                     {world: func(w *world) { strict(w, "c1", "c2") }, most: 100 * time.Millisecond, fence: gate + 10*time.Second, note: "every process"},
		"the request's deadline is too short": {world: func(w *world) { w.loseUnit2(); strict(w, "c2") }, deadline: 5 * time.Second, fence: 5 * time.Second, late: true},
		"the request's deadline is long":      {world: func(w *world) { w.loseUnit2(); strict(w, "c2") }, deadline: time.Minute, least: gate, most: gate + 100*time.Millisecond, fence: time.Minute, note: "the gates"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				c.world(w)
				p := &timedTables{process: &process{world: w}, slow: c.slow}
				var waited []string
				e := p.executor(t, func(o *switchplan.Options) {
					o.Tables = p
					o.Observer.Waiting = func(_, phase, why string) { waited = append(waited, phase+": "+why) }
				})
				plan := w.plan(t, forced(func(r *msha.SwitchRequest) {
					r.Override, r.Deadline = []string{switchplan.GuardNeedless}, c.deadline
				}))
				report, err := e.Run(t.Context(), plan)
				require.Equal(t, c.fence, p.deadline)
				require.Equal(t, c.fence, w.order(t, plan.ID).Plan.Deadline, "another executor has as long")
				if c.late {
					require.ErrorIs(t, err, msha.ErrAborted)
					require.ErrorIs(t, err, msha.ErrNotConfirmed)
					require.ErrorContains(t, err, "c2")
					require.Zero(t, w.commits)
					require.Equal(t, "unit-2", w.set("guangzhou").Owner)
					require.Equal(t, msha.SetOpen, w.set("guangzhou").State)
					return
				}
				require.NoError(t, err)
				took := p.committed.Sub(p.fenced)
				require.GreaterOrEqual(t, took, c.least, "a process that confirmed the table just before the fence starts messages for so long")
				require.LessOrEqual(t, took, c.most)
				require.True(t, strings.HasPrefix(notes(report.Phases)[switchplan.Drain], c.note), notes(report.Phases)[switchplan.Drain])
				if c.note == "the gates" {
					require.Contains(t, waited[len(waited)-1]+waited[max(0, len(waited)-2)], "close within 30s")
				}
			})
		})
	}
}

func TestAPlansOwnLongFenceIsNotCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.loseUnit2()
		w.roster = w.roster.With(msha.RosterMember{ClientID: "c2", Unit: "unit-2", Groups: []string{"channel"}, Strict: true})
		p := &timedTables{process: &process{world: w}}
		plan := w.plan(t, forcedGuangzhou)
		plan.Deadline = 5 * time.Minute
		_, err := p.executor(t, func(o *switchplan.Options) { o.Tables = p }).Run(t.Context(), plan)
		require.NoError(t, err)
		require.Equal(t, 5*time.Minute, p.deadline)
	})
}

func TestAForcedSwitchWaitsForFactsOrGoesOnWithoutThem(t *testing.T) {
	lacking := msha.Errorf("switch.hand over", "group audit", "", "%w: a listed group has none", msha.ErrMissingFacts)
	for name, c := range map[string]struct {
		override bool
		missing  func(began time.Time) func(partial bool) error
		err      error
		says     []string
		takes    time.Duration
	}{
		"they never come": {
			missing: func(time.Time) func(bool) error {
				return func(partial bool) error {
					if partial {
						return nil // not without being told to
					}
					return lacking
				}
			},
			err: msha.ErrMissingFacts, says: []string{"group audit", "override=" + switchplan.GuardFacts}, takes: 10 * time.Second,
		},
		"a copy is late": {
			missing: func(began time.Time) func(bool) error {
				return func(bool) error {
					if time.Since(began) < 4*time.Second {
						return lacking
					}
					return nil
				}
			}, takes: 4 * time.Second,
		},
		"they are given up": {
			override: true,
			missing: func(time.Time) func(bool) error {
				return func(partial bool) error {
					if !partial {
						return lacking
					}
					return nil
				}
			},
		},
		"another error": {
			missing: func(time.Time) func(bool) error { return func(bool) error { return errors.New("disk full") } },
			err:     msha.ErrAborted, says: []string{"disk full"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.loseUnit2()
				w.missing = c.missing(time.Now())
				var waited []string
				e := (&process{world: w}).executor(t, func(o *switchplan.Options) {
					o.Observer.Waiting = func(_, phase, why string) { waited = append(waited, phase+": "+why) }
				})
				plan := w.plan(t, forced(func(r *msha.SwitchRequest) {
					if c.override {
						r.Override = []string{switchplan.GuardFacts}
					}
				}))
				began := time.Now()
				_, err := e.Run(t.Context(), plan)
				require.InDelta(t, c.takes, time.Since(began), float64(200*time.Millisecond))
				if c.err != nil {
					require.ErrorIs(t, err, c.err)
					require.ErrorIs(t, err, msha.ErrAborted)
					for _, says := range c.says {
						require.ErrorContains(t, err, says)
					}
					require.Equal(t, "unit-2", w.set("guangzhou").Owner)
					require.Empty(t, w.handed)
					return
				}
				require.NoError(t, err)
				require.Equal(t, c.override, len(w.order(t, plan.ID).Override) == 1)
				require.Equal(t, !c.override, slices.ContainsFunc(waited, func(s string) bool {
					return strings.HasPrefix(s, switchplan.HandOver) && strings.Contains(s, "group audit")
				}), waited)
			})
		})
	}
}

// Looks that fail for any reason begin the time anew that a process must have been gone for: it may have come and left again unseen.
func TestAPlannedSwitchCountsNoTimeInWhichItCouldNotLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.clients["unit-2/channel"] = []string{"c1"}
		for after, err := range map[time.Duration]error{5 * time.Second: errors.New("no units"), 8 * time.Second: nil} {
			time.AfterFunc(after, func() { w.do(func() { w.noUnits = err }) })
		}
		began := time.Now()
		report, err := (&process{world: w}).executor(t).Run(t.Context(), w.plan(t, guangzhou))
		require.NoError(t, err)
		require.InDelta(t, 38*time.Second, time.Since(began), float64(100*time.Millisecond))
		require.Contains(t, notes(report.Phases)[switchplan.Confirm], "c2")
	})
}

// TestAForcedSwitchIsFinishedByAnother kills a manager at each of its calls, before and after the call's effect.
func TestAForcedSwitchIsFinishedByAnother(t *testing.T) {
	committed, aborted := 0, 0
	for _, after := range []bool{false, true} {
		for at, reached := 1, true; reached; at++ {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.loseUnit2()
				w.repeated = 7
				plan := w.plan(t, forcedGuangzhou)
				first := &process{world: w, name: "first", killAt: at, after: after}
				rarely := func(o *switchplan.Options) { o.Poll = 250 * time.Millisecond } // fewer calls to be killed at
				_, _ = first.executor(t, rarely).Run(t.Context(), plan)                   //nolint:errcheck // what became of it is looked at below
				if reached = first.calls >= at; !reached {
					return
				}
				var report *switchplan.Report
				second := (&process{world: w, name: "second"}).executor(t, rarely, func(o *switchplan.Options) {
					o.Observer.Done = func(_ string, r *switchplan.Report, _ error) { report = r }
				})
				for range 5 {
					require.NoError(t, second.Resume(t.Context()))
					time.Sleep(6 * time.Second)
				}
				o, s := w.order(t, plan.ID), w.set("guangzhou")
				require.Equal(t, msha.SetOpen, s.State)
				if s.Owner == "unit-2" {
					require.Zero(t, w.commits)
					require.Empty(t, s.Forced)
					aborted++
					return
				}
				require.Equal(t, []msha.ForcedTerm{{Unit: "unit-2", Set: s.ID, Term: 3}}, s.Forced)
				require.Equal(t, 1, w.commits)
				require.Equal(t, switchplan.StateDone, o.State)
				require.Equal(t, "copies of unit-2", w.handed["unit-1/"+s.ID+"/"+s.RemainingHash])
				if report != nil {
					require.EqualValues(t, 7, report.PossiblyRepeated, "killed at %d", at)
				}
				committed++
			})
		}
	}
	require.Greater(t, committed, 10)
	require.Positive(t, aborted)
}

func TestAUnitThatIsAwayGainsNoRoutes(t *testing.T) {
	away := func(w *world) {
		w.table = edited(w.table, func(t *msha.Table) {
			s := t.Sets["d"]
			s.Forced = []msha.ForcedTerm{{Unit: "unit-2", Set: "d", Term: 1}}
			t.Sets["d"] = s
		})
	}
	for name, req := range map[string]msha.SwitchRequest{
		"named":      {Values: []string{"beijing"}, To: "unit-2"},
		"the other":  {Values: []string{"beijing"}},
		"by force":   {Values: []string{"beijing"}, To: "unit-2", Forced: true},
		"everything": {From: "unit-1", To: "unit-2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			before := w.plan(t, req)
			away(w)
			_, err := new(switchplan.Planner).Plan(t.Context(), req, msha.View{Table: w.table, Units: w.units})
			require.ErrorIs(t, err, msha.ErrInvalid)
			if req.To != "" {
				require.ErrorContains(t, err, "has not rejoined")
			}
			docs := maps.Clone(w.docs)
			e := (&process{world: w}).executor(t)
			_, err = e.Run(t.Context(), before) // made before
			require.ErrorIs(t, err, msha.ErrInvalid)
			require.ErrorContains(t, err, "wait until it has rejoined")
			_, err = e.DryRun(t.Context(), before)
			require.ErrorIs(t, err, msha.ErrInvalid)
			require.Equal(t, docs, w.docs)
			require.Equal(t, "unit-1", w.set("beijing").Owner)
		})
	}

	t.Run("it may lose more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.loseUnit2()
			away(w)
			_, err := (&process{world: w}).executor(t).Run(t.Context(), w.plan(t, forcedGuangzhou))
			require.NoError(t, err)
			require.Equal(t, "unit-1", w.set("guangzhou").Owner)
		})
	})

	t.Run("lost while a user's step runs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.acks["unit-1"] = map[string]uint64{"other": 1 << 40}
			plan := w.plan(t, msha.SwitchRequest{Values: []string{"beijing"}})
			require.NoError(t, switchplan.InsertAfter(plan, switchplan.Check, msha.Step{Name: "approve", Do: func(context.Context) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				away(w)
				return nil
			}}))
			_, err := (&process{world: w}).executor(t).Run(t.Context(), plan)
			require.ErrorIs(t, err, msha.ErrInvalid)
			require.ErrorContains(t, err, "has not rejoined")
			require.Equal(t, "unit-1", w.set("beijing").Owner)
			require.Zero(t, w.commits)
		})
	})
}

func TestGuardNamesAreKnown(t *testing.T) {
	for _, name := range []string{switchplan.GuardNeedless, switchplan.GuardFacts} {
		plan, err := new(switchplan.Planner).Plan(t.Context(), forced(func(r *msha.SwitchRequest) { r.Override = []string{name} }), msha.View{Table: table(), Units: units("unit-1", "unit-2")})
		require.NoError(t, err)
		require.Equal(t, []string{name}, plan.Request.Override, fmt.Sprint(name))
	}
}
