package sim

import (
	"fmt"
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

type phase int

const (
	joining phase = iota
	running
	stopping
	stopped
)

// agent is one process with one consumer: the engine of package consume without its goroutines. Each step that waits for somebody else
// goes on in a callback; a killed agent gets none any more, a frozen one gets them all when it thaws.
type agent struct {
	w      *world
	c      *cluster
	client string
	writer string

	life
	apart bool // its connections to the brokers are broken
	phase phase

	t         *filter.Tracker
	table     *msha.Table
	acked     uint64
	logs      []*follower
	in        *msha.Incarnations // of the unit's queues, as far as they are known here
	left      map[filter.LocalQueue]leftover
	held      map[filter.LocalQueue]*held
	ready     []*item
	parked    []*item
	running   int
	lastSeen  int64 // when the client was last known to be in the consumer list
	confirmed int64 // when the table was last asked for and came
	lapsed    bool  // the gate closed: only joining again opens it
	entered   int   // how often it has entered the roster
	beating   bool  // a rebalance is under way
	scanning  bool
	again     bool // scan once more

	waits        []wait
	broadcasting bool
	changed      bool

	away  uint64 // counts the times a broker went away
	epoch uint64 // grows whenever a log may have lost its tail
	anew  bool   // the process drops everything to begin anew

	publishing bool
	publishers []func()

	unpublished map[msha.Origin]processed // no Done of it is in a log yet
	failing     map[*message]bool         // failed, and its retry is not announced yet
	fresh       uint64                    // numbers the reads of the log
}

// processed is a message whose handler has succeeded.
type processed struct {
	m   *message
	key filter.Key
}

type wait struct {
	cond func() bool
	then func()
}

// held is one generation of a local queue under this agent's lock.
type held struct {
	q          *queue
	ready      bool
	dropped    bool
	done       bool // nothing is opened or pulled any more
	idle       bool // the pull waits for a message
	trustUntil int64
	lockedAt   int64              // its lock was granted
	in         *msha.Incarnations // as this generation knows them
	first      int64              // where it began to pull
	next       int64
	last       *seen // read last
	suspect    int64 // since when its broker may have lost it; 0: it has it
	lost       bool  // its broker lost its tail
	unsaid     bool  // the log has lost what its acknowledgements rest on
	unknown    bool  // its Hold is lost
	acquiredAt int64 // origin offset of the pull position when it was acquired
	committed  int64
	window     filter.Window
	running    int
	lane       filter.Lane // of an ordered group
	resumeAt   int64       // an ordered queue waits after a failure
}

func (h *held) retry() bool { return h.q.local.Topic == retryTopic }
func (h *held) home() bool  { return h.q.local.Topic == topic }

// committable is the first local offset that is not acknowledged.
func (h *held) committable() int64 { return h.window.Committable(h.next) }

// mayCommit is false while the broker may have lost what was read: an offset that is used again must not count as read.
func (h *held) mayCommit() bool {
	return h.ready && !h.lost && !h.unsaid && (h.suspect == 0 || h.q.w.mutation == CommitInDoubt)
}

// item is one message on its way to the handler.
type item struct {
	h       *held
	m       stored
	meta    filter.Message
	offset  int64 // local
	rescan  bool
	key     filter.Key
	arrived uint64 // number of the last read of the log that began before it was pulled
	r       *run

	freshening bool // the log is being read to its end for it
}

// spawn starts a process under a new name, or under that of a dead one.
func (w *world) spawn(c *cluster, client string) *agent {
	w.agents++
	if client == "" {
		client = fmt.Sprintf("%s-c%02d", c.unit[len(c.unit)-2:], w.agents)
	}
	a := &agent{w: w, c: c, client: client, writer: fmt.Sprintf("w%02d", w.agents),
		held: map[filter.LocalQueue]*held{}, unpublished: map[msha.Origin]processed{}, failing: map[*message]bool{}, left: map[filter.LocalQueue]leftover{}, lastSeen: -gateWindow}
	a.t = filter.NewTracker(c.unit, group, a.client, a.writer)
	for _, broker := range c.brokers {
		a.logs = append(a.logs, &follower{a: a, log: c.logs[broker], own: true})
	}
	for _, l := range c.copies {
		a.logs = append(a.logs, &follower{a: a, log: l})
	}
	c.agents = append(c.agents, a)
	a.enter(a.begin)
	return a
}

func (a *agent) alive() bool { return !a.dead && a.phase != stopped }

func (a *agent) trace(what string, o msha.Origin, detail string) {
	a.w.trace(a.client, what, o, detail)
}

func (a *agent) after(d int64, f func()) { a.w.after(d, func() { a.on(f) }) }

// call is a request to a broker; f runs there. The request or its answer may be lost, as with a broker that goes away meanwhile.
func (a *agent) call(f func(), answer func(error)) {
	away := a.away
	do := func() {
		if a.away == away {
			f()
		}
	}
	then := func(err error) {
		if a.away != away {
			err = errLost
		}
		answer(err)
	}
	switch {
	case a.apart:
		a.after(a.w.between(1, 50), func() { then(errLost) })
	case a.w.chance(a.w.o.flaky / 2):
		a.after(a.w.between(100, 400), func() { then(errLost) })
	case a.w.chance(a.w.o.flaky / 2):
		a.w.after(a.w.latency(), func() {
			do()
			a.after(a.w.between(100, 400), func() { then(errLost) })
		})
	default:
		a.w.after(a.w.latency(), func() {
			do()
			a.after(a.w.latency(), func() { then(nil) })
		})
	}
}

// await runs then once cond holds; it is looked at after every change of the agent's state.
func (a *agent) await(cond func() bool, then func()) {
	if cond() {
		then()
		return
	}
	a.waits = append(a.waits, wait{cond, then})
}

// broadcast says that the agent's state changed.
func (a *agent) broadcast() {
	a.changed = true
	if a.broadcasting {
		return
	}
	a.broadcasting = true
	for a.changed && !a.dead {
		a.changed = false
		for i := 0; i < len(a.waits); {
			if w := a.waits[i]; w.cond() {
				a.waits = slices.Delete(a.waits, i, i+1)
				w.then()
			} else {
				i++
			}
		}
		a.dispatch()
	}
	a.broadcasting = false
}

// kill ends the process. Requests under way still arrive.
func (a *agent) kill() {
	a.trace("killed", msha.Origin{}, "")
	a.w.counts.Kills++
	a.excuse()
	a.dead = true
	a.w.journal.killed(a)
	a.w.after(a.w.mostly(5, 50, 0.2, 500, 3000), func() {
		if m := a.c.members[a.client]; m != nil && m.writer == a.writer {
			m.alive = false
			a.c.notify()
		}
	})
}

// freeze stops the process for a while; it does not notice.
func (a *agent) freeze(d int64) {
	if a.frozen {
		return
	}
	a.trace("frozen", msha.Origin{}, "")
	a.w.counts.Freezes++
	a.excuse()
	a.frozen = true
	a.w.after(d, func() {
		a.trace("thawed", msha.Origin{}, "")
		a.thaw()
		a.w.store.deliver(a)
		a.w.store.tell(a.c.unit)
	})
}

// breakOff breaks the process's connections for a moment. It goes on with what it has, relying on its locks, while no broker lists it.
func (a *agent) breakOff(d int64) {
	if a.apart {
		return
	}
	a.trace("connections broken", msha.Origin{}, "")
	a.w.counts.Breaks++
	a.apart = true
	if m := a.c.members[a.client]; m != nil && m.writer == a.writer {
		m.alive = false
		a.c.notify()
	}
	a.w.after(d, func() { a.apart = false })
}

// excuse notes what may be repeated because this process was killed, frozen or cut off: what is in flight, and what no log knows.
func (a *agent) excuse() {
	for _, p := range a.unpublished {
		a.w.journal.excused[p.m] = true
	}
	for m := range a.failing {
		a.w.journal.excused[m] = true
	}
	for _, r := range a.w.journal.inFlight[a] {
		r.excused = true
		a.w.journal.excused[r.m] = true
	}
}

// stop is a graceful shutdown: nothing starts, what runs ends, everything is published, committed and released, then the process
// leaves the consumer list and the roster.
func (a *agent) stop() {
	if a.phase != running {
		return
	}
	a.trace("stopping", msha.Origin{}, "")
	a.phase = stopping
	for _, h := range a.heldSorted() {
		a.giveUp(h)
	}
	a.await(func() bool { return len(a.held) == 0 && a.running == 0 }, func() {
		a.publish(func() {
			a.w.after(a.w.latency(), func() { a.c.unregister(a.client) })
			a.leaveRoster()
		})
	})
}

func (a *agent) leaveRoster() {
	a.c.ask(func() error {
		a.w.store.roster = a.w.store.roster.Without(a.client)
		return nil
	}, func(err error) {
		a.on(func() {
			if err != nil {
				a.after(300, a.leaveRoster)
				return
			}
			a.trace("left", msha.Origin{}, "")
			a.w.counts.Leaves++
			a.phase = stopped
		})
	})
}
