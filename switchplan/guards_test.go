package switchplan_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

func TestGuards(t *testing.T) {
	alone := func(w *world) { w.clients["unit-1/channel"] = nil }
	for _, tc := range []struct {
		name   string
		guard  string
		guards switchplan.Guards
		world  func(*world)
		says   []string
		takes  time.Duration
	}{
		{name: "nobody connected", guard: switchplan.GuardTarget, world: alone, says: []string{"unit-1", "nobody consumes", "group channel", "start the application"}},
		{name: "another group", guard: switchplan.GuardTarget, world: func(w *world) {
			w.roster = w.roster.With(msha.RosterMember{ClientID: "other", Unit: "unit-1", Groups: []string{"audit"}})
			w.clients["unit-1/audit"] = []string{"other"}
		}, says: []string{"nobody consumes"}},
		{name: "connected, in no roster", guard: switchplan.GuardTarget, world: func(w *world) { w.roster = w.roster.Without("other") }, says: []string{"in the roster"}},
		{name: "brokers do not answer", guard: switchplan.GuardTarget, world: func(w *world) {
			w.down = map[string]error{"unit-1": errors.New("connection refused")}
			time.AfterFunc(time.Second, func() { w.do(func() { w.down = nil }) })
		}, says: []string{"connection refused"}},
		{name: "two units stay on", guard: switchplan.GuardUnits, guards: switchplan.Guards{KeepUnits: 2}, says: []string{"1 live units", "(unit-1)", "least is 2"}},
		{name: "lag", guard: switchplan.GuardLag, guards: switchplan.Guards{MaxLag: 10}, world: func(w *world) { w.lag = map[string]int64{"unit-2>unit-1": 11} }, says: []string{"11 messages", "unit-1", "limit is 10"}},
		{name: "lag unknown", guard: switchplan.GuardLag, guards: switchplan.Guards{MaxLag: 10}, world: func(w *world) { w.blind = errors.New("no layout") }, says: []string{"nobody can tell", "no layout"}},
		{name: "pending", guard: switchplan.GuardLag, guards: switchplan.Guards{MaxPending: 20}, world: func(w *world) { w.pending = 9 }, says: []string{"42 messages", "limit is 20"}},
		{name: "pending unknown", guard: switchplan.GuardLag, guards: switchplan.Guards{MaxPending: 20}, world: func(w *world) { w.blind = msha.ErrMissingFacts }, says: []string{"nobody can tell", "missing facts"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, override := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld()
					if tc.world != nil {
						tc.world(w)
					}
					// Everything of unit-2 moves, so that units and the numbers of two sets count.
					req := msha.SwitchRequest{From: "unit-2", By: "alice"}
					if override {
						req.Override = []string{tc.guard}
					}
					plan := w.plan(t, req)
					e := (&process{world: w}).executor(t, func(o *switchplan.Options) { o.Guards = tc.guards })
					report, err := e.Run(t.Context(), plan)
					if !override {
						if !errors.Is(err, msha.ErrGuard) || errors.Is(err, msha.ErrAborted) || len(w.docs) != 0 || w.table.Version != 7 || report.State != "" {
							t.Fatalf("error %v, documents %v, table %d", err, w.docs, w.table.Version)
						}
						for _, says := range append(tc.says, tc.guard, "override="+tc.guard) {
							if !strings.Contains(err.Error(), says) {
								t.Errorf("%v: does not say %q", err, says)
							}
						}
						return
					}
					if err != nil || w.set("guangzhou").Owner != "unit-1" {
						t.Fatalf("overridden: %v, set %+v", err, w.set("guangzhou"))
					}
					order := w.order(t, plan.ID)
					if len(order.Override) != 1 || order.Override[0] != "override="+tc.guard || order.Plan.Request.By != "alice" || len(order.Overridden) == 0 || !order.Overridden[0].Overridden {
						t.Errorf("order %+v", order)
					}
					if len(report.Overrides) != 1 || report.Overrides[0].Guard != tc.guard || report.Overrides[0].By != "alice" || !strings.Contains(report.Overrides[0].What, tc.says[len(tc.says)-1]) && tc.says[len(tc.says)-1] != "start the application" {
						t.Errorf("report %+v", report.Overrides)
					}
					if s := report.String(); !strings.Contains(s, "overridden "+tc.guard+" by alice") || strings.Contains(s, "\n") {
						t.Errorf("%s", s)
					}
				})
			}
		})
	}
}

func TestGuardThatIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.clients["unit-1/channel"] = nil
		e := (&process{world: w}).executor(t, func(o *switchplan.Options) { o.Guards.AllowDeadTarget = true })
		if _, err := e.Run(t.Context(), w.plan(t, guangzhou)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestATargetThatJustStarted is listed by its brokers a moment later.
func TestATargetThatJustStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.clients["unit-1/channel"] = nil
		time.AfterFunc(15*time.Millisecond, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.clients["unit-1/channel"] = []string{"other"}
		})
		if _, err := (&process{world: w}).executor(t).Run(t.Context(), w.plan(t, guangzhou)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestInterval counts from what each manager saw itself.
func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.roster = w.roster.With(msha.RosterMember{ClientID: "c1", Unit: "unit-2", Groups: []string{"channel"}})
		limited := func(o *switchplan.Options) { o.Guards.MinInterval = time.Minute }
		first, second := (&process{world: w, name: "1"}).executor(t, limited), (&process{world: w, name: "2"}).executor(t, limited)
		run := func(e *switchplan.Executor, req msha.SwitchRequest) error {
			time.Sleep(time.Millisecond)
			_, err := e.Run(t.Context(), w.plan(t, req))
			return err
		}
		if err := run(first, guangzhou); err != nil {
			t.Fatal(err)
		}
		w.acks["unit-1"] = map[string]uint64{"other": 1 << 40}
		before := maps.Clone(w.docs)
		for what, e := range map[string]*switchplan.Executor{"its own": first, "of another manager": second} {
			err := run(e, guangzhou)
			if !errors.Is(err, msha.ErrGuard) || !strings.Contains(err.Error(), switchplan.GuardInterval) || !strings.Contains(err.Error(), "wait") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if len(w.docs) != len(before) || w.docs[msha.SwitchKey].Revision != before[msha.SwitchKey].Revision {
			t.Error("a refusal changed a document")
		}
		if err := run(second, msha.SwitchRequest{Values: []string{"shenzhen"}}); err != nil {
			t.Errorf("other values: %v", err)
		}
		req := guangzhou
		req.Override = []string{switchplan.GuardInterval}
		if err := run(second, req); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := run(first, guangzhou); !errors.Is(err, msha.ErrGuard) { // it never saw the last one before
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := run(first, guangzhou); err != nil {
			t.Fatal(err)
		}
	})
}
