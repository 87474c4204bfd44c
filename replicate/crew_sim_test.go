package replicate

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoShareHasTwoSenders plays members that join, drain, leave, die and are frozen in any order, on documents that may be stale, with
// writes that conflict, get lost, or are stored late. What it checks is what a process believes, not what the document says.
func TestNoShareHasTwoSenders(t *testing.T) {
	events := map[string]int{}
	for seed := range uint64(400) {
		w := &crewWorld{t: t, rng: rand.New(rand.NewPCG(seed, 1)), events: events, seed: seed}
		for range 120 {
			w.step()
			w.check()
		}
		w.calm()
	}
	for _, event := range []string{"joined", "left", "froze", "buried", "woke removed", "handed over", "hand-over without answer", "stored late", "refused"} {
		require.Positive(t, events[event], event)
	}
	t.Log(events)
}

// crewWorld runs the decisions of crew in one goroutine. Time is not modelled: the lease of a frozen process may end at any moment, and
// the process stops to send before that.
type crewWorld struct {
	t      *testing.T
	rng    *rand.Rand
	events map[string]int
	seed   uint64

	doc      crew
	revision int
	late     []lateWrite
	serial   int
	procs    []*crewProc
	offered  int
}

type lateWrite struct {
	doc    crew
	expect int
}

type crewProc struct {
	session  string
	seen     crew
	revision int
	sends    map[share]bool // pipes run and may send
	draining map[share]bool // pipes are ended, to be handed over
	trusted  bool           // the lease
}

func (w *crewWorld) clone(c crew) crew {
	c.Members, c.Shares = slices.Clone(c.Members), slices.Clone(c.Shares)
	return c
}

// edit is sharing.edit: true if the answer was a success.
func (w *crewWorld) edit(p *crewProc, change func(*crew) bool) bool {
	c, base := w.clone(w.doc), w.revision
	if !change(&c) {
		p.adopt(c, base)
		return true
	}
	c.Version++
	switch w.rng.IntN(8) {
	case 0:
		w.late = append(w.late, lateWrite{c, base})
		return false
	case 1:
		w.store(c)
		w.events["stored without answer"]++
		return false
	case 2:
		return false // lost
	}
	w.store(c)
	p.adopt(w.clone(c), w.revision)
	return true
}

func (w *crewWorld) store(c crew) {
	w.doc = w.clone(c)
	w.revision++
}

func (p *crewProc) adopt(c crew, revision int) {
	if revision > p.revision {
		p.seen, p.revision = c, revision
	}
}

func (w *crewWorld) step() {
	if len(w.late) > 0 && w.rng.IntN(3) == 0 {
		i := w.rng.IntN(len(w.late))
		if w.late[i].expect == w.revision {
			w.store(w.late[i].doc)
			w.events["stored late"]++
		} else {
			w.events["refused"]++
		}
		w.late = slices.Delete(w.late, i, i+1)
		return
	}
	if len(w.procs) < 3 || len(w.procs) < 6 && w.rng.IntN(12) == 0 {
		w.serial++
		p := &crewProc{session: fmt.Sprint("p", w.serial), sends: map[share]bool{}, draining: map[share]bool{}, trusted: true}
		if w.edit(p, func(c *crew) bool {
			c.join(all(p.session, w.serial))
			c.offer(manyShares(w.offered))
			return true
		}) {
			w.procs = append(w.procs, p)
			w.events["joined"]++
		}
		return
	}
	p := w.procs[w.rng.IntN(len(w.procs))]
	if w.offered < 9 && w.rng.IntN(10) == 0 {
		w.offered++
	}
	switch w.rng.IntN(12) {
	case 0: // frozen: its lease ends
		p.trusted = false
		w.events["froze"]++
	case 1:
		w.bury(p)
	case 2:
		if p.trusted && w.rng.IntN(3) == 0 {
			w.leave(p)
		}
	case 3: // wakes, or goes on
		if !p.trusted {
			w.wake(p)
		}
	case 4, 5: // a watch shows some document
		if w.rng.IntN(2) == 0 {
			p.adopt(w.clone(w.doc), w.revision)
		}
	default:
		if p.trusted {
			w.reconcile(p)
		}
	}
}

// reconcile is sharing.reconcile.
func (w *crewWorld) reconcile(p *crewProc) {
	if p.seen.find(p.session) == nil {
		w.remove(p)
		return
	}
	surplus, mine := p.seen.surplus(p.session), p.seen.owned(p.session)
	for _, s := range mine {
		if !p.sends[s] && !p.draining[s] {
			if slices.Contains(surplus, s) {
				p.draining[s] = true
			} else {
				p.sends[s] = true
			}
		}
	}
	for s := range p.sends {
		if slices.Contains(surplus, s) || !slices.Contains(mine, s) {
			delete(p.sends, s)
			p.draining[s] = true
		}
	}
	drained := slices.Collect(maps.Keys(p.draining))
	if w.edit(p, func(c *crew) bool {
		if c.find(p.session) == nil {
			return false
		}
		changed := c.hand(p.session, drained)
		return c.offer(manyShares(w.offered)) || changed
	}) {
		if len(drained) > 0 {
			w.events["handed over"]++
		}
		clear(p.draining)
	} else if len(drained) > 0 {
		w.events["hand-over without answer"]++
	}
}

// bury is what p does when it got the lease of another one, which therefore does not trust its own.
func (w *crewWorld) bury(p *crewProc) {
	for _, dead := range w.procs {
		if dead == p || dead.trusted || !p.trusted {
			continue
		}
		m := p.seen.find(dead.session)
		if m == nil {
			continue
		}
		if w.edit(p, func(c *crew) bool { return c.bury(*m) }) {
			w.events["buried"]++
		}
		return
	}
}

func (w *crewWorld) wake(p *crewProc) {
	p.adopt(w.clone(w.doc), w.revision) // reads linearizably
	if p.seen.find(p.session) == nil {
		w.events["woke removed"]++
		w.remove(p)
		return
	}
	w.serial++
	listed := false
	if w.edit(p, func(c *crew) bool { listed = c.move(p.session, w.serial, 1); return listed }) && listed {
		p.trusted = true
	}
}

func (w *crewWorld) leave(p *crewProc) {
	clear(p.sends)
	w.edit(p, func(c *crew) bool { c.leave(p.session); return true })
	w.remove(p)
	w.events["left"]++
}

func (w *crewWorld) remove(p *crewProc) {
	w.procs = slices.DeleteFunc(w.procs, func(o *crewProc) bool { return o == p })
}

func (w *crewWorld) check() {
	sender := map[share]string{}
	for _, p := range w.procs {
		for s := range p.sends {
			if p.trusted {
				require.Empty(w.t, sender[s], "seed %d: %v has two senders, %s too", w.seed, s, p.session)
				sender[s] = p.session
			}
		}
	}
}

// calm: without faults, and with the dead ones buried, every share gets one sender and the loads differ by one at most.
func (w *crewWorld) calm() {
	w.late = nil
	c := w.clone(w.doc)
	alive := map[string]bool{}
	for _, p := range w.procs {
		alive[p.session] = p.trusted
	}
	for _, m := range slices.Clone(c.Members) {
		if !alive[m.Session] {
			c.bury(m)
		}
	}
	c.settle()
	ls := loads(&c)
	if len(ls) > 0 {
		require.LessOrEqual(w.t, ls[len(ls)-1]-ls[0], 1, "seed %d", w.seed)
		require.Empty(w.t, c.owned(""))
	}
}
