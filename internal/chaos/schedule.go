package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

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
	To     []string // "": the unit that is next to the owner
}

// Schedule is what happens in a round.
type Schedule struct {
	Faults []Action
	Moves  []Move
}

// Draw draws a round: the same one for the same seed and options. Every kind of fault comes up once before any comes up again, and nothing is
// done to what has hardly recovered.
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
}

// rest is what a target is left alone for after it is back.
const rest = 5 * time.Second

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
		if len(deck) == 0 {
			deck = slices.Clone(d.Kinds)
			d.rnd.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		var free []string
		i := slices.IndexFunc(deck, func(k Kind) bool {
			free = slices.DeleteFunc(slices.Clone(targets[k]), func(t string) bool { return d.busy[t] > at })
			return len(free) > 0
		})
		if i < 0 {
			continue
		}
		a := Action{At: at, Kind: deck[i], Target: free[d.rnd.IntN(len(free))], For: d.lasts(deck[i]), During: d.rnd.IntN(2) == 0}
		d.busy[a.Target] = at + a.For + rest
		all, deck = append(all, a), slices.Delete(deck, i, i+1)
	}
	return all
}

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

// Kinds are the kinds of fault a round has. The death of a whole site is to be one of them: it wants forced switches.
func Kinds() []Kind {
	return []Kind{KillAgent, FreezeAgent, KillReplicator, FreezeReplicator, KillManager, FreezeManager, KillBroker, KillNameServer, KillStore, Partition, Delay}
}

// Brokers names a unit's brokers.
func Brokers(units []string, unit string, second bool) []string {
	all := []string{brokerPrefix + unit}
	if second && unit == units[len(units)-1] {
		all = append(all, all[0]+secondSuffix)
	}
	return all
}

const brokerPrefix, secondSuffix = "broker-", "-second"

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
		managers, brokers, servers = append(managers, ManagerName(u)), append(brokers, Brokers(units, u, second)...), append(servers, "nameserver-"+u)
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
		KillBroker: brokers, KillNameServer: servers, KillStore: {"etcd"}, Partition: networks, Delay: networks,
	}
}

// AgentName is a unit's agent, whichever process that is at the time.
func AgentName(unit string, n int) string { return fmt.Sprintf("%s.agent-%d", unit, n+1) }

// ReplicatorName is the replicator of a pair of units.
func ReplicatorName(origin, target string) string { return origin + ".to-" + target }

// ManagerName is a unit's manager.
func ManagerName(unit string) string { return unit + ".manager" }
