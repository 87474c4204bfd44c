package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Seed is that of the round in `make test`.
const Seed = 29

// Options of Draw.
type Options struct {
	Units  []string
	Second bool // the last unit has two brokers
	Values []string
	Length time.Duration // of the load; everything begins before it ends
	Calm   time.Duration // at the beginning only values move
	Storm  time.Duration // faults in a row
	Lull   time.Duration // without faults, after each storm
	Every  time.Duration // between two faults, on average
	Freeze time.Duration // the longest freeze
	Ebb    time.Duration // at the end, without faults that leave queues to wait for the locks of the dead
	Kinds  []Kind        // nil: all
}

// Agents is how many agents each unit has.
const Agents = 2

// Action is a fault to come.
type Action struct {
	At     time.Duration
	Kind   Kind
	Target string
	For    time.Duration // how long a process, server or network is gone before it is brought back
	During bool          // a switch is asked for just before, so that it meets the fault
}

// Move is one or more switches to come, one after the other.
type Move struct {
	At     time.Duration
	Values []string // or From
	From   string
	Forced bool
	To     []string // "": the unit that is next to the owner
}

// Schedule is what happens in a round.
type Schedule struct {
	Faults []Action
	Moves  []Move
}

// Draw draws a round: the same one for the same seed and options. Every kind of fault comes up once before any comes up again, but for sites, which
// are given more time, and nothing is done to what has hardly recovered.
func Draw(seed uint64, o Options) Schedule {
	if len(o.Kinds) == 0 {
		o.Kinds = Kinds()
	}
	d := &drawing{Options: o, rnd: rand.New(rand.NewPCG(seed, 1)), busy: map[string]time.Duration{}}
	return Schedule{Faults: d.faults(), Moves: d.moves()}
}

type drawing struct {
	Options
	rnd  *rand.Rand
	busy map[string]time.Duration // targets, until when
	next time.Duration            // from when on a site may die
}

// rejoined is how long after the death of a site all sites are spared: where one dies before another one has rejoined, neither can.
const rejoined = 2 * time.Minute

// rest is what a target is left alone for after it is back. All servers of a site take long to start.
func (k Kind) rest() time.Duration {
	if k == KillSite {
		return 20 * time.Second
	}
	return 5 * time.Second
}

func (d *drawing) faults() (all []Action) {
	targets := Targets(d.Units, d.Second)
	var deck []Kind
	end := d.Calm + d.Storm
	for at := d.Calm; at < d.Length; at += d.about(d.Every) {
		if at > end {
			at += d.Lull
			end = at + d.Storm
			continue
		}
		deck = d.comes(deck, at)
		if len(deck) == 0 {
			deck = d.comes(slices.Clone(d.Kinds), at)
			d.rnd.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		var free []string
		i := slices.IndexFunc(deck, func(k Kind) bool {
			free = slices.DeleteFunc(slices.Clone(targets[k]), func(t string) bool { return !d.fits(k, at, d.free(k, t, at), end) })
			return len(free) > 0
		})
		if i < 0 {
			continue
		}
		a := Action{Kind: deck[i], Target: free[d.rnd.IntN(len(free))], For: d.lasts(deck[i]), During: d.rnd.IntN(2) == 0}
		a.At = d.free(a.Kind, a.Target, at)
		for _, part := range Parts(d.Units, d.Second, a.Kind, a.Target) {
			d.busy[part] = a.At + a.For + a.Kind.rest()
		}
		if a.Kind == KillSite {
			d.next = a.At + rejoined
		}
		all, deck = append(all, a), slices.Delete(deck, i, i+1)
	}
	slices.SortFunc(all, func(a, b Action) int { return cmp.Compare(a.At, b.At) })
	return all
}

// comes leaves out what does not come at a time.
func (d *drawing) comes(kinds []Kind, at time.Duration) []Kind {
	return slices.DeleteFunc(kinds, func(k Kind) bool { return k.lasting() && at > d.Length-d.Ebb || k == KillSite && at < d.next })
}

// fits says whether a fault may come when its target is free. All of a site is hardly ever there at the same time, so a site is waited for.
func (d *drawing) fits(k Kind, at, free, end time.Duration) bool {
	if k.lasting() {
		end = min(end, d.Length-d.Ebb)
	}
	return free <= end && free < d.Length && (free == at || k == KillSite)
}

// free is from when on, beginning with at, nothing of a target is away.
func (d *drawing) free(k Kind, target string, at time.Duration) time.Duration {
	for _, part := range Parts(d.Units, d.Second, k, target) {
		at = max(at, d.busy[part])
	}
	return at
}

// lasting says whether queues may wait for dead processes' locks after the fault is over.
func (k Kind) lasting() bool { return k == KillAgent || k == KillBroker || k == KillSite }

// lasts draws how long a fault takes.
func (d *drawing) lasts(k Kind) time.Duration {
	switch k {
	case FreezeAgent, FreezeReplicator, FreezeManager:
		if d.rnd.IntN(2) == 0 {
			return d.Freeze
		}
		return d.between(3*time.Second, d.Freeze)
	case KillBroker, KillNameServer, KillStore:
		return d.between(time.Second, 5*time.Second)
	case KillSite:
		return d.between(2*time.Second, 10*time.Second)
	case Partition:
		return d.between(3*time.Second, d.Freeze)
	case Delay:
		return d.between(5*time.Second, 10*time.Second)
	}
	return d.between(0, 2*time.Second)
}

// moves come in three shapes: one step; a value that goes there, back and on; everything of a unit.
func (d *drawing) moves() (all []Move) {
	for at := time.Second; at < d.Length; at += d.about(1500 * time.Millisecond) {
		m := Move{At: at, To: []string{""}, Values: []string{d.Values[d.rnd.IntN(len(d.Values))]}}
		switch d.rnd.IntN(8) {
		case 0, 1:
			m.To = []string{"", "", ""}
		case 2:
			if other := d.Values[d.rnd.IntN(len(d.Values))]; other != m.Values[0] {
				m.Values = append(m.Values, other)
			}
			m.To = []string{d.Units[d.rnd.IntN(len(d.Units))]}
		case 3:
			i := d.rnd.IntN(len(d.Units))
			m.Values, m.From, m.To = nil, d.Units[i], []string{d.Units[(i+1+d.rnd.IntN(len(d.Units)-1))%len(d.Units)]}
		}
		all = append(all, m)
	}
	return all
}

// about draws a time near the average, half of it at least.
func (d *drawing) about(average time.Duration) time.Duration {
	return d.between(average/2, 3*average/2)
}

func (d *drawing) between(low, high time.Duration) time.Duration {
	return low + time.Duration(d.rnd.Int64N(int64(max(high-low, 0)+1)))
}

// Kinds are the kinds of fault a round has.
func Kinds() []Kind {
	return []Kind{KillAgent, FreezeAgent, KillReplicator, FreezeReplicator, KillManager, FreezeManager, KillBroker, KillNameServer, KillStore, KillSite, Partition, Delay}
}

// Parts are what a fault of a kind concerns, sorted: two faults that share a part do not happen at the same time. That of a site concerns all that
// dies with it, and what a forced switch cannot do without, wherever it is: else none would succeed before the site is back.
func Parts(units []string, second bool, k Kind, target string) []string {
	if k != KillSite {
		return []string{target}
	}
	var all []string
	for kind, targets := range Targets(units, second) {
		switch kind {
		case KillBroker, KillNameServer, KillManager, KillStore:
			all = append(all, targets...)
		case KillAgent, KillReplicator:
			for _, t := range targets {
				if unitOf(t) == target {
					all = append(all, t)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

// Brokers names a unit's brokers.
func Brokers(units []string, unit string, second bool) []string {
	all := []string{brokerPrefix + unit}
	if second && unit == units[len(units)-1] {
		all = append(all, all[0]+secondSuffix)
	}
	return all
}

const (
	brokerPrefix, secondSuffix = "broker-", "-second"
	serverPrefix               = "nameserver-"
	store                      = "etcd"
)

func unitOfBroker(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, brokerPrefix), secondSuffix)
}

// Targets are what each kind can hit.
func Targets(units []string, second bool) map[Kind][]string {
	var agents, replicators, managers, brokers, servers, networks []string
	for i, u := range units {
		for n := range Agents {
			agents = append(agents, AgentName(u, n))
		}
		managers, brokers, servers = append(managers, ManagerName(u)), append(brokers, Brokers(units, u, second)...), append(servers, serverPrefix+u)
		for j, other := range units {
			if i != j {
				replicators = append(replicators, ReplicatorName(u, other))
			}
			if i < j {
				networks = append(networks, u+" "+other)
			}
		}
	}
	return map[Kind][]string{
		KillAgent: agents, FreezeAgent: agents, KillReplicator: replicators, FreezeReplicator: replicators, KillManager: managers, FreezeManager: managers,
		KillBroker: brokers, KillNameServer: servers, KillStore: {store}, KillSite: units, Partition: networks, Delay: networks,
	}
}

// AgentName is a unit's agent, whichever process that is at the time.
func AgentName(unit string, n int) string { return fmt.Sprintf("%s.agent-%d", unit, n+1) }

// ReplicatorName is the replicator of a pair of units.
func ReplicatorName(origin, target string) string { return origin + ".to-" + target }

// ManagerName is a unit's manager.
func ManagerName(unit string) string { return unit + ".manager" }
