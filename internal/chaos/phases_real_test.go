//go:build real

package chaos

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

const (
	shortGate  = 8 * time.Second // more than two ticks of an agent
	longResume = 6 * time.Second // managers that stand still are not to be taken for dead on a machine that is overloaded
	longFence  = time.Minute     // whoever is dead is waited for
	shortFence = 5 * time.Second
	standstill = time.Minute // of a value under steady load
)

// TestEveryPhase kills managers, and kills and freezes agents of both units, in each phase of planned switches, in one installation under
// steady load. Each switch ends, its value is processed by the unit that the table names, nothing is lost, and nothing but the work of the
// killed and frozen agents is repeated.
func TestEveryPhase(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	defer func(g, r time.Duration) { *gate, *resume = g, r }(*gate, *resume)
	*gate, *resume = shortGate, longResume
	begun := time.Now()
	w := &phases{world: start(t, ctx, 1)}
	stop := w.produce()
	w.eventually("every unit's handlers are at work", w.everywhere)
	stage := func(what string) { t.Logf("%s after %.0f seconds", what, time.Since(begun).Seconds()) }

	for i, phase := range switchplan.Phases() {
		w.killManager(w.names[i%2], phase)
	}
	stage("managers were killed in each phase")
	require.Zero(t, Judge(w.read()).Repeated, "nobody's work was cut off")

	all := switchplan.Phases()
	for i, some := range [][]string{all[:4], all[4:]} {
		w.wave(w.names[i], some, longFence, w.killAgent)
	}
	stage("agents were killed in each phase")
	for i, some := range [][]string{all[:4], all[4:]} {
		w.wave(w.names[1-i], some, shortFence, w.freezeAgent)
	}
	stage("agents were frozen in each phase")
	w.outlivedFence(w.names[0])
	stage("a fence was outlived")

	stop()
	w.evidence.Loaded = time.Now()
	w.settled()
	stage("settled")
	v := Judge(w.read())
	w.audit()
	fmt.Println("every phase:", v)
	t.Log(v.Details())
	for _, p := range w.processes {
		w.failures = append(w.failures, p.outcries()...)
	}
	for _, f := range w.failures {
		t.Error(f)
	}
	require.NoError(t, v.Err())
	stage("done")
}

// phases is a world in which switches are held in their phases.
type phases struct {
	*world
	switches int
}

// held is a switch that somebody asked for.
type held struct {
	hold
	value, from, to string
	answered        chan struct{}
	status          int // once answered; 0: the manager died
	answer          manager.Answer
	err             error
	s               Switch
}

// begin lets a manager begin to move a value away from its unit, and to stand still at a moment of that.
func (w *phases) begin(at string, value, from string, h hold, fence time.Duration) *held {
	w.switches++
	h.Name = fmt.Sprintf("switch-%d", w.switches)
	x := &held{hold: h, value: value, from: from, to: w.other(from), answered: make(chan struct{})}
	query := url.Values{"values": {value}, "to": {x.to}, "deadline": {fence.String()}, "by": {h.by()}}
	x.s = Switch{Query: query.Encode(), Values: []string{value}, To: x.to, Begun: time.Now()}
	go func() {
		defer close(x.answered)
		x.status, x.answer, x.err = w.request(w.managers[at] + "/switch?" + x.s.Query)
	}()
	return x
}

func (w *phases) other(unit string) string { return w.names[1-slices.Index(w.names, unit)] }

// stands waits until switches are where they are to be held.
func (w *phases) stands(all ...*held) {
	w.Helper()
	for _, x := range all {
		w.eventually(x.String()+" is held", func() bool {
			select {
			case <-x.answered:
				w.Fatalf("%s of %s ended before %s: status %d, %v", x.Name, x.value, x, x.status, x.err)
			default:
			}
			return exists(x.reached(w.journals))
		})
	}
}

func (w *phases) goOn(all ...*held) {
	for _, x := range all {
		require.NoError(w, os.WriteFile(x.hold.goOn(w.journals), nil, 0o644))
	}
}

// ends waits until a manager, whichever it is, has ended a switch: its state, and what its abort was for.
func (w *phases) ends(x *held) (state, why string) {
	w.Helper()
	<-x.answered
	w.eventually("the switch of "+x.value+" held at "+x.String()+" ends", func() bool {
		orders, err := switchplan.ReadOrders(w.ctx, w.store)
		require.NoError(w, err)
		i := slices.IndexFunc(orders.Orders, func(o switchplan.Order) bool { return o.Plan.Request.By == x.by() })
		require.GreaterOrEqual(w, i, 0, "the order is there")
		state, why = orders.Orders[i].State, orders.Orders[i].Error
		return !orders.Orders[i].Unfinished()
	})
	x.s.Ended, x.s.Outcome, x.s.Note = time.Now(), Aborted, why
	if state == switchplan.StateDone {
		x.s.Outcome = Done
	}
	w.noteSwitch(x.s)
	return state, why
}

// processed says that a switch was done, or aborted: its value is where it belongs then, and is processed where the table says.
func (w *phases) processed(x *held, state string) {
	w.Helper()
	set := w.set(x.value)
	owner := map[string]string{switchplan.StateDone: x.to, switchplan.StateAborted: x.from}[state]
	require.Equal(w, owner, set.Owner, "%s, held at %s", x.value, x)
	require.Equal(w, msha.SetOpen, set.State)
	asked, seen := time.Now(), len(w.read().Lines)
	w.eventually(owner+" processes "+x.value, func() bool {
		if time.Since(asked) > standstill {
			w.Fatalf("%s, held at %s, %s: %s processes nothing of it", x.value, x, state, owner)
		}
		return slices.ContainsFunc(w.read().Lines[seen:], func(l Line) bool {
			return l.Event == Start && l.Unit() == owner && l.Value == x.value && l.At.After(asked)
		})
	})
}

func (w *phases) set(value string) msha.RouteSet {
	w.Helper()
	t, err := route.LoadFresh(w.ctx, w.store)
	require.NoError(w, err)
	set, ok := t.Lookup(value, w.names[0])
	require.True(w, ok)
	return set
}

// owned are so many values of a unit; some are moved there if it has too few.
func (w *phases) owned(unit string, n int) (all []string) {
	w.Helper()
	var others []string
	for _, v := range values {
		if w.set(v).Owner == unit {
			all = append(all, v)
		} else {
			others = append(others, v)
		}
	}
	if more := n - len(all); more > 0 {
		status, _, err := w.request(w.managers[unit] + "/switch?to=" + unit + "&deadline=" + longFence.String() + "&values=" + strings.Join(others[:more], ","))
		require.NoError(w, err)
		require.Equal(w, http.StatusOK, status)
		all = append(all, others[:more]...)
	}
	return all[:n]
}

// killManager kills a manager that works on two switches: of one a phase begins, of the other one it has ended, and that is not written. The
// other manager finishes both.
func (w *phases) killManager(unit, phase string) {
	w.Helper()
	p := w.processes[ManagerName(unit)]
	require.NoError(w, p.serves(w.ctx)) // it may have been killed the time before last
	begins := w.begin(unit, w.owned(w.names[0], 1)[0], w.names[0], hold{Phase: phase}, longFence)
	ends := w.begin(unit, w.owned(w.names[1], 1)[0], w.names[1], hold{Phase: phase, Ended: true}, longFence)
	w.stands(begins, ends)
	f := p.kill()
	f.Kind = KillManager
	for _, x := range []*held{begins, ends} {
		state, why := w.ends(x)
		require.Zero(w, x.status, "the killed manager answers nothing")
		require.Equal(w, switchplan.StateDone, state, "%s, held at %s: %s", x.value, x, why)
		w.processed(x, state)
	}
	require.NoError(w, p.start())
	f.Until = time.Now()
	w.noteFault(f)
}

// wave holds two switches at the beginning of each of some phases, one away from a unit and one to it, and then strikes an agent of the unit.
// Fences that the agent may not have acknowledged by then last for patience.
func (w *phases) wave(unit string, some []string, patience time.Duration, strike func(agent string, all []*held)) {
	w.Helper()
	other := w.other(unit)
	losing, gaining := w.owned(unit, len(some)), w.owned(other, len(some))
	var all []*held
	for i, phase := range some {
		fence := longFence
		if acknowledges(phase) {
			fence = patience
		}
		all = append(all, w.begin(w.names[0], losing[i], unit, hold{Phase: phase}, fence), w.begin(w.names[1], gaining[i], other, hold{Phase: phase}, longFence))
	}
	w.stands(all...)
	strike(AgentName(unit, 0), all)
}

// acknowledges says whether agents may have to do so yet when a phase begins.
func acknowledges(phase string) bool {
	return switchplan.Number(phase) <= switchplan.Number(switchplan.Drain)
}

// killAgent: its gate closes in time, so all switches succeed.
func (w *phases) killAgent(agent string, all []*held) {
	p := w.processes[agent]
	f := p.kill()
	f.Kind = KillAgent
	w.goOn(all...)
	require.NoError(w, p.start())
	for _, x := range all {
		state, why := w.ends(x)
		require.Equal(w, switchplan.StateDone, state, "%s from %s, held at %s: %s", x.value, x.from, x, why)
	}
	require.NoError(w, p.serves(w.ctx))
	f.Until = time.Now()
	w.noteFault(f)
	for _, x := range all {
		w.processed(x, switchplan.StateDone)
	}
}

// freezeAgent lets it stand still until its gate has closed and all switches have ended: those that it did not acknowledge reopen.
func (w *phases) freezeAgent(agent string, all []*held) {
	p := w.processes[agent]
	f, err := p.freeze()
	require.NoError(w, err)
	f.Kind = FreezeAgent
	w.goOn(all...)
	states := make([]string, len(all))
	for i, x := range all {
		var why string
		states[i], why = w.ends(x)
		w.Logf("%s frozen: %s from %s, held at %s: %s %s", agent, x.value, x.from, x, states[i], why)
		switch {
		case x.from != unitOf(agent) || !acknowledges(x.Phase):
			require.Equal(w, switchplan.StateDone, states[i], "%s from %s, held at %s: it is not the frozen one's to acknowledge", x.value, x.from, x)
		case x.Phase != switchplan.Drain: // there it can have been faster than this test
			require.Equal(w, switchplan.StateAborted, states[i], "%s from %s, held at %s: nobody can know what the frozen one does", x.value, x.from, x)
		}
	}
	pause(w.ctx, time.Until(f.Gone.Add(*gate+2*time.Second)))
	require.NoError(w, p.thaw())
	f.Until = time.Now()
	w.noteFault(f)
	for i, x := range all {
		w.processed(x, states[i])
	}
}

// outlivedFence kills the manager of a switch that cannot be confirmed, because an agent stands still: the other manager reopens the value when
// the fence has lasted too long.
func (w *phases) outlivedFence(unit string) {
	w.Helper()
	value := w.owned(unit, 1)[0]
	frozen, killed := w.processes[AgentName(unit, 1)], w.processes[ManagerName(unit)]
	agent, err := frozen.freeze()
	require.NoError(w, err)
	agent.Kind = FreezeAgent
	x := w.begin(unit, value, unit, hold{Phase: switchplan.Drain}, shortFence)
	w.stands(x)
	require.Equal(w, msha.SetFenced, w.set(value).State)
	gone := killed.kill()
	gone.Kind = KillManager
	state, why := w.ends(x)
	w.Logf("%s killed behind a fence: %s %s", ManagerName(unit), state, why)
	pause(w.ctx, time.Until(agent.Gone.Add(*gate+2*time.Second)))
	require.NoError(w, frozen.thaw())
	agent.Until = time.Now()
	w.noteFault(agent)
	require.NoError(w, killed.start())
	require.NoError(w, killed.serves(w.ctx))
	gone.Until = time.Now()
	w.noteFault(gone)
	require.Equal(w, switchplan.StateAborted, state)
	w.processed(x, state)
}
