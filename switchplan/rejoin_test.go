package switchplan_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// awayWorld is a world in which unit-1 took set "b" from unit-2 by force. Nobody in unit-2 has acknowledged that.
func awayWorld() *world {
	w := newWorld()
	w.mute["c1"], w.mute["c2"] = true, true
	w.repeated = 7
	w.lose("b", "unit-1")
	return w
}

// lose takes a set from unit-2 by force.
func (w *world) lose(id, to string) {
	w.table = edited(w.table, func(t *msha.Table) {
		s := t.Sets[id]
		lost := msha.ForcedTerm{Unit: "unit-2", Set: id, Term: s.Term}
		t.Sets[id] = msha.RouteSet{ID: id, Owner: to, Term: s.Term + 1, State: msha.SetOpen, RemainingHash: "forced", Forced: []msha.ForcedTerm{lost}}
	})
}

// do changes the world while others are at work in it.
func (w *world) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// acknowledge is what processes of unit-2 do that know the table of today.
func (w *world) acknowledge(clients ...string) {
	w.do(func() {
		for _, id := range clients {
			w.knows("unit-2", id)
		}
	})
}

// rejoining is a Rejoin that runs.
type rejoining struct {
	*world
	done     chan struct{}
	rejoined *switchplan.Rejoined
	err      error
	cancel   context.CancelFunc

	mu     sync.Mutex
	waited []string
}

func (w *world) rejoin(t *testing.T, p *process, edit ...func(*switchplan.Options)) *rejoining {
	r := &rejoining{world: w, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	e := p.executor(t, append(edit, func(o *switchplan.Options) {
		o.Observer.Waiting = func(_, phase, why string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.waited = append(r.waited, phase+": "+why)
		}
	})...)
	go func() {
		defer close(r.done)
		r.rejoined, r.err = e.Rejoin(ctx, "unit-2", false)
	}()
	return r
}

// waits says what it waits for after some time, and that it still does.
func (r *rejoining) waits(t *testing.T, after time.Duration, says ...string) {
	t.Helper()
	time.Sleep(after)
	select {
	case <-r.done:
		t.Fatalf("ended: %+v, %v", r.rejoined, r.err)
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	require.NotEmpty(t, r.waited)
	for _, s := range append(says, "rejoin: unit-2: ") {
		require.Contains(t, r.waited[len(r.waited)-1], s)
	}
}

func (r *rejoining) ends(t *testing.T) *switchplan.Rejoined {
	t.Helper()
	<-r.done
	require.NoError(t, r.err)
	require.NotNil(t, r.rejoined)
	return r.rejoined
}

func TestAUnitRejoinsOnceItsProcessesHaveAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.acks["unit-2"] = map[string]uint64{"c1": w.table.Version - 1, "c2": 1 << 40} // what c1 knows is of before the switch
		r := w.rejoin(t, &process{world: w})
		r.waits(t, time.Minute, "c1", "fence not confirmed")
		w.do(func() {
			require.Equal(t, 0, slices.Index(w.asked, "mark unit-2"), "the mark comes before any look")
			require.Equal(t, -1, slices.Index(w.asked[1:], "mark unit-2"), "one is enough, however long it takes")
			require.NotContains(t, w.asked, "remaining unit-2", "its log does not end before")
			require.Empty(t, w.handed)
		})
		w.acknowledge("c1")
		done := r.ends(t)
		require.Equal(t, switchplan.Rejoined{Unit: "unit-2", Sets: []string{"b"}, Repeated: 7, Duration: done.Duration}, *done)
		require.GreaterOrEqual(t, done.Duration, time.Minute)

		require.False(t, w.table.Away("unit-2"))
		s := w.set("guangzhou")
		require.Equal(t, "hash of b with unit-2 in 4", s.RemainingHash)
		require.Equal(t, "unit-1", s.Owner)
		require.EqualValues(t, 4, s.Term, "the term goes on")
		require.Equal(t, map[string]string{"unit-1/b/" + s.RemainingHash: "log of unit-2", "unit-2/b/" + s.RemainingHash: "log of unit-2"}, w.handed)
		require.Len(t, w.roster.Members, 3)
		require.Contains(t, w.log.String(), "unit rejoined after a forced switch")

		// It may gain routes again.
		w.acks["unit-1"] = map[string]uint64{"other": 1 << 40}
		_, err := (&process{world: w}).executor(t).Run(t.Context(), w.plan(t, guangzhou))
		require.NoError(t, err)
		require.Equal(t, "unit-2", w.set("guangzhou").Owner)
	})
}

func TestAUnitRejoinsWithoutProcessesThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.clients["unit-2/channel"] = []string{"c1"}
		w.acknowledge("c1")
		r := w.rejoin(t, &process{world: w})
		r.waits(t, 29*time.Second, "c2")
		done := r.ends(t)
		require.Equal(t, []string{"c2"}, done.Gone)
		require.InDelta(t, 30*time.Second, done.Duration, float64(200*time.Millisecond))
		var left []string
		for _, m := range w.roster.Members {
			left = append(left, m.ClientID)
		}
		require.ElementsMatch(t, []string{"c1", "other"}, left)
		require.Contains(t, w.asked, "remaining unit-2")
	})
}

// A gap in the looks begins the time anew: a process may have been there meanwhile.
func TestAProcessIsGoneOnlyIfItWasLookedForAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.clients["unit-2/channel"] = nil
		r := w.rejoin(t, &process{world: w})
		r.waits(t, 20*time.Second, "c1", "c2")
		for _, gap := range []struct {
			says       string
			begin, end func()
		}{
			{"connection refused", func() { w.down = map[string]error{"unit-2": errors.New("connection refused")} }, func() { w.down = nil }},
			{"in switch x", func() { w.table = edited(w.table, fenced(msha.SetFenced, "x")) }, func() { w.table = edited(w.table, fenced(msha.SetOpen, "")) }},
			{"no units", func() { w.noUnits = errors.New("no units") }, func() { w.noUnits = nil }},
		} {
			w.do(func() { w.asked = nil })
			w.do(gap.begin)
			r.waits(t, time.Minute, gap.says)
			w.do(gap.end)
			r.waits(t, 20*time.Second, "c1", "c2")
			w.do(func() { require.Contains(t, w.asked, "mark unit-2", "what was marked may be lost") })
		}
		require.Equal(t, []string{"c1", "c2"}, slices.Sorted(slices.Values(r.ends(t).Gone)))
		require.InDelta(t, 20*time.Second+3*80*time.Second+10*time.Second, r.rejoined.Duration, float64(time.Second))
	})
}

func TestAUnitThatDoesNotAnswerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.acknowledge("c1", "c2")
		w.down = map[string]error{"unit-2": errors.New("connection refused")}
		r := w.rejoin(t, &process{world: w})
		r.waits(t, time.Hour, "connection refused")
		require.Len(t, r.waited, 1, "a reason is told once")
		w.do(func() {
			require.True(t, w.table.Away("unit-2"))
			w.down = nil
		})
		r.ends(t)
	})
}

// Each attempt to compute what remains reads whole logs: while copies are missing they come a few seconds apart.
func TestAUnitWhoseFactsAreMissingIsNotAskedAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.acknowledge("c1", "c2")
		w.missing = func(bool) error { return fmt.Errorf("%w: of unit-3", msha.ErrMissingFacts) }
		r := w.rejoin(t, &process{world: w})
		r.waits(t, time.Hour, "missing facts: of unit-3")
		w.do(func() {
			asked := 0
			for _, what := range w.asked {
				if what == "remaining unit-2" {
					asked++
				}
			}
			require.Less(t, asked, 3600/3+10)
			w.missing = nil
		})
		require.Less(t, r.ends(t).Duration, time.Hour+time.Minute)
	})
}

// fenced is an edit of what a switch does to set "b".
func fenced(state msha.SetState, id string) func(*msha.Table) {
	return func(t *msha.Table) {
		s := t.Sets["b"]
		s.State, s.Switch = state, id
		t.Sets["b"] = s
	}
}

func TestAUnitRejoinsNothingThatIsInASwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.acknowledge("c1", "c2")
		p := &process{world: w}
		fence := func(state msha.SetState, id string) {
			w.do(func() { w.table = edited(w.table, fenced(state, id)) })
		}
		fence(msha.SetFenced, "x")
		r := w.rejoin(t, p)
		r.waits(t, time.Minute, "route set b", "in switch x", "busy")
		w.do(func() { require.Empty(t, w.handed) })
		fence(msha.SetOpen, "")
		w.acknowledge("c1", "c2")
		require.Equal(t, []string{"b"}, r.ends(t).Sets)
	})
}

// changing is a table store in which the first edits meet a table that has changed since it was read.
type changing struct {
	*process
	changes []func()
}

func (c *changing) Update(ctx context.Context, edit func(*msha.Table) (*msha.Table, error)) (*msha.Table, error) {
	if len(c.changes) > 0 {
		c.do(c.changes[0])
		c.changes = c.changes[1:]
	}
	return c.process.Update(ctx, edit)
}

func (c *changing) do(f func()) { c.world.do(f) }

func TestARejoinThatMeetsAnotherChangeIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.acknowledge("c1", "c2")
		c := &changing{process: &process{world: w}, changes: []func(){func() {
			w.table = edited(w.table, func(t *msha.Table) { // a planned switch carries the note on
				s := t.Sets["b"]
				s.Owner, s.Term, s.RemainingHash = "unit-3", 5, "planned"
				t.Sets["b"] = s
			})
		}}}
		r := w.rejoin(t, c.process, func(o *switchplan.Options) { o.Tables = c })
		done := r.ends(t)
		require.Equal(t, []string{"b"}, done.Sets)
		require.EqualValues(t, 7, done.Repeated, "of the attempt that counted")
		s := w.set("guangzhou")
		require.Equal(t, "hash of b with unit-2 in 5", s.RemainingHash)
		require.Equal(t, "unit-3", s.Owner)
		require.Contains(t, w.handed, "unit-3/b/"+s.RemainingHash)
		require.Equal(t, 1, w.rejoins)
		require.Contains(t, r.waited[0], "revision conflict")
	})
}

func TestARejoinThatAnotherExecutorHasMadeIsNotMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.acknowledge("c1", "c2")
		var version uint64
		c := &changing{process: &process{world: w}, changes: []func(){func() {
			w.table = edited(w.table, func(t *msha.Table) {
				s := t.Sets["b"]
				s.Forced, s.RemainingHash = nil, "theirs"
				t.Sets["b"] = s
			})
			version = w.table.Version
		}}}
		w.rejoin(t, c.process, func(o *switchplan.Options) { o.Tables = c }).ends(t)
		require.Zero(t, w.rejoins)
		require.Equal(t, version, w.table.Version)
		require.Equal(t, "theirs", w.set("guangzhou").RemainingHash)
	})
}

func TestAllThatAUnitLostIsTakenBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.lose("c", "unit-3")
		w.acknowledge("c1", "c2")
		done := w.rejoin(t, &process{world: w}).ends(t)
		require.Equal(t, []string{"b", "c"}, done.Sets)
		require.EqualValues(t, 14, done.Repeated)
		require.ElementsMatch(t, []string{
			"unit-1/b/hash of b with unit-2 in 4", "unit-2/b/hash of b with unit-2 in 4",
			"unit-3/c/hash of c with unit-2 in 2", "unit-2/c/hash of c with unit-2 in 2",
		}, slices.Collect(maps.Keys(w.handed)))
		require.False(t, w.table.Away("unit-2"))
		require.Equal(t, 1, w.rejoins, "one edit")
	})
}

// TestAnAcknowledgementStandsForWhatItKnew: the unit loses more while it is waited for.
func TestAnAcknowledgementStandsForWhatItKnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.acknowledge("c1")
		r := w.rejoin(t, &process{world: w})
		r.waits(t, time.Second, "c2")
		w.do(func() { w.lose("c", "unit-1") })
		w.do(func() { w.acks["unit-2"]["c2"] = w.table.Version - 1 })
		r.waits(t, time.Second, "c1", "c2")
		w.acknowledge("c2")
		r.waits(t, time.Second, "c1")
		w.do(func() { w.table = edited(w.table, func(*msha.Table) {}) }) // something else: what is asked for stays
		w.do(func() { w.acks["unit-2"]["c1"] = w.table.Version - 1 })
		require.Equal(t, []string{"b", "c"}, r.ends(t).Sets)
		marks := 0
		for _, what := range w.asked {
			if what == "mark unit-2" {
				marks++
			}
		}
		require.Equal(t, 2, marks, "one for each version asked for")
	})
}

func TestRejoinOfAUnitThatIsNotAwayDoesNothing(t *testing.T) {
	w := newWorld()
	p := &process{world: w}
	done, err := p.executor(t).Rejoin(t.Context(), "unit-2", false)
	require.NoError(t, err)
	require.Nil(t, done)
	require.Empty(t, w.asked)
	w = awayWorld()
	done, err = (&process{world: w}).executor(t).Rejoin(t.Context(), "unit-1", true)
	require.NoError(t, err)
	require.Nil(t, done, "another unit is away")
	require.True(t, w.table.Away("unit-2"))
}

func TestAUnitWhoseLogIsLostIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.loseUnit2()
		done, err := (&process{world: w}).executor(t).Rejoin(t.Context(), "unit-2", true)
		require.NoError(t, err)
		require.Equal(t, []string{"b"}, done.Sets)
		require.Empty(t, done.Gone)
		require.Empty(t, w.asked)
		require.Equal(t, map[string]string{"unit-1/b/hash of b with unit-2 in 4": "copies of unit-2"}, w.handed, "and its log gets nothing")
		require.False(t, w.table.Away("unit-2"))
		require.Len(t, w.roster.Members, 3)
	})
}

func TestNoUnitRejoinsOnAnUnsafeStore(t *testing.T) {
	w := awayWorld()
	w.acknowledge("c1", "c2")
	p := &process{world: w}
	p.turnsUnsafe()
	_, err := p.executor(t).Rejoin(t.Context(), "unit-2", false)
	require.ErrorIs(t, err, msha.ErrUnsafe)
	require.Empty(t, w.handed)

	// The read that shows it may be the last one before the edit.
	p = &process{world: w}
	tables := &changing{process: p, changes: []func(){p.turnsUnsafe}}
	_, err = p.executor(t, func(o *switchplan.Options) { o.Tables = tables }).Rejoin(t.Context(), "unit-2", false)
	require.ErrorIs(t, err, msha.ErrUnsafe)
	require.True(t, w.table.Away("unit-2"))
	require.Zero(t, w.rejoins)
}

func TestARejoinEndsWithItsContextAndSaysWhatItWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		r := w.rejoin(t, &process{world: w})
		r.waits(t, time.Second, "c1", "c2")
		r.cancel()
		<-r.done
		require.ErrorIs(t, r.err, context.Canceled)
		require.ErrorIs(t, r.err, msha.ErrNotConfirmed)
		require.ErrorContains(t, r.err, "c1")
		require.Nil(t, r.rejoined)
		require.True(t, w.table.Away("unit-2"))
	})
}

func TestSeveralExecutorsMayTakeAUnitBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		all := []*rejoining{w.rejoin(t, &process{world: w, name: "1"}), w.rejoin(t, &process{world: w, name: "2"}), w.rejoin(t, &process{world: w, name: "3"})}
		all[0].waits(t, time.Second, "c1")
		w.acknowledge("c1", "c2")
		for _, r := range all {
			<-r.done
			require.NoError(t, r.err)
		}
		require.Equal(t, 1, w.rejoins)
		require.False(t, w.table.Away("unit-2"))
		require.Equal(t, "hash of b with unit-2 in 4", w.set("guangzhou").RemainingHash)
	})
}

// TestARejoinIsFinishedByAnother kills a manager at each of its calls, before and after the call's effect.
func TestARejoinIsFinishedByAnother(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at, reached := 1, true; reached; at++ {
			synctest.Test(t, func(t *testing.T) {
				w := awayWorld()
				w.acknowledge("c1", "c2")
				first := &process{world: w, name: "first", killAt: at, after: after}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := first.executor(t).Rejoin(ctx, "unit-2", false)
				if reached = first.calls >= at; !reached {
					require.NoError(t, err)
					return
				}
				_, err = (&process{world: w, name: "second"}).executor(t).Rejoin(t.Context(), "unit-2", false)
				require.NoError(t, err, "killed at %d, after %v", at, after)
				require.Equal(t, 1, w.rejoins)
				require.False(t, w.table.Away("unit-2"))
				s := w.set("guangzhou")
				for _, unit := range []string{"unit-1", "unit-2"} {
					require.Contains(t, w.handed, unit+"/b/"+s.RemainingHash)
				}
			})
		}
	}
}

// A clean end says nothing of clients; a gone one that cannot be taken out of the roster is told.
func TestARosterThatCannotBePrunedStopsNoRejoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.clients["unit-2/channel"] = nil
		p := &process{world: w}
		done := w.rejoin(t, p, func(o *switchplan.Options) { o.Registry = fullRoster{p} }).ends(t)
		require.Len(t, done.Gone, 2)
		require.Len(t, w.roster.Members, 3)
		require.True(t, strings.Contains(w.log.String(), "dead processes stay in the roster"))
	})
}

type fullRoster struct{ *process }

func (fullRoster) Prune(context.Context, []msha.RosterMember) error { return msha.ErrTooLarge }
