package msha

import (
	"hash/fnv"
	"slices"
	"sort"
	"time"
)

// Keys of the documents (design section 5).
const (
	TableKey  = "metadata.routers"
	UnitsKey  = "metadata.units"
	RosterKey = "metadata.roster"
	SwitchKey = "metadata.switch"
	LayoutKey = "metadata.layout" // + "." + origin unit + "." + target unit
)

// RuleKind orders rules: exact before range before slot before default. Unit rules are for messages without a value.
type RuleKind string

// The kinds of rules.
const (
	RuleExact   RuleKind = "exact"
	RuleRange   RuleKind = "range"
	RuleSlot    RuleKind = "slot"
	RuleDefault RuleKind = "default"
	RuleUnit    RuleKind = "unit"
)

// Slots is the number of hash slots: slot = fnv32a(value) mod Slots.
const Slots = 1024

// Rule gives values to a route set.
type Rule struct {
	Kind  RuleKind `json:"kind"`
	Value string   `json:"value,omitempty"` // exact: the value; unit: the unit that produced the message
	Low   string   `json:"low,omitempty"`   // range: Low <= value < High, byte order
	High  string   `json:"high,omitempty"`
	From  int      `json:"from,omitempty"` // slot: From <= slot < To
	To    int      `json:"to,omitempty"`
	Set   string   `json:"set"`
}

// SetState says whether the owner may start messages.
type SetState string

// The states of a route set.
const (
	SetOpen   SetState = "open"
	SetFenced SetState = "fenced"
)

// RouteSet is all values with the same owner and history.
type RouteSet struct {
	ID            string        `json:"id"`
	Parent        string        `json:"parent,omitempty"` // set it was split from; it shares the parent's facts until it moves, then it is empty
	Owner         string        `json:"owner"`
	Term          uint64        `json:"term"` // 1 is the first
	State         SetState      `json:"state"`
	Switch        string        `json:"switch,omitempty"`        // id of the switch that fenced it
	Deadline      time.Duration `json:"deadline,omitempty"`      // of the fence, measured by each observer from its own first sight
	Aborting      bool          `json:"aborting,omitempty"`      // of a fence whose switch must not commit any more
	RemainingHash string        `json:"remainingHash,omitempty"` // of what this term has to process; empty in term 1
	Forced        []ForcedTerm  `json:"forced,omitempty"`        // earlier terms whose units have not rejoined, oldest first
}

// ForcedTerm is a term that a forced switch ended without asking its unit, which may have done more of it than is known elsewhere
// (design section 8). It stays with the route set, whoever owns it later, until that unit has rejoined.
type ForcedTerm struct {
	Unit          string `json:"unit"` // owner of the term
	Set           string `json:"set"`  // facts set of the term
	Term          uint64 `json:"term"`
	RemainingHash string `json:"remainingHash,omitempty"` // of what the term had to process
}

// FactsSet is the set id under which the facts of this term are recorded: parts of a split share term, Done and Open until they move.
func (s RouteSet) FactsSet() string {
	if s.Parent != "" {
		return s.Parent
	}
	return s.ID
}

// ForcedFrom is the term that a unit lost by force and has not rejoined since.
func (s RouteSet) ForcedFrom(unit string) (f ForcedTerm, ok bool) {
	for _, f := range s.Forced {
		if f.Unit == unit {
			return f, true
		}
	}
	return ForcedTerm{}, false
}

// Away says whether a unit lost routes by force and has not rejoined since. It must not own any until then: it would be asked to
// process what it may have processed before.
func (t *Table) Away(unit string) bool {
	for _, s := range t.Sets {
		if _, forced := s.ForcedFrom(unit); forced {
			return true
		}
	}
	return false
}

// RouterEntry is the published shape of the router list: which unit owns which values.
type RouterEntry struct {
	UnitName string   `json:"unitName"`
	Values   []string `json:"values"`
}

// Table is an immutable routing table. Build one with package route; the zero value owns nothing.
type Table struct {
	Version uint64              `json:"version"`
	Rules   []Rule              `json:"rules"`
	Sets    map[string]RouteSet `json:"sets"`

	index *tableIndex
}

type tableIndex struct {
	exact, unit map[string]*indexed // by value or unit
	ranges      []indexedRange      // ascending, disjoint
	slots       []*indexed          // len 0 or Slots
	def         *indexed
}

// indexed is a set that rules refer to; known is false if the table does not have it.
type indexed struct {
	id    string
	set   RouteSet
	known bool
}

type indexedRange struct {
	low, high string
	*indexed
}

// Index prepares the lookup; it must be called once before the table is shared. Rules are expected to be valid (package route).
func (t *Table) Index() *Table {
	ix := &tableIndex{exact: make(map[string]*indexed, len(t.Rules)), unit: map[string]*indexed{}}
	sets := map[string]*indexed{}
	for _, r := range t.Rules {
		set := sets[r.Set]
		if set == nil {
			set = &indexed{id: r.Set}
			set.set, set.known = t.Sets[r.Set]
			sets[r.Set] = set
		}
		switch r.Kind {
		case RuleExact:
			ix.exact[r.Value] = set
		case RuleUnit:
			ix.unit[r.Value] = set
		case RuleRange:
			ix.ranges = append(ix.ranges, indexedRange{r.Low, r.High, set})
		case RuleSlot:
			if ix.slots == nil {
				ix.slots = make([]*indexed, Slots)
			}
			for s := max(r.From, 0); s < min(r.To, Slots); s++ {
				ix.slots[s] = set
			}
		case RuleDefault:
			ix.def = set
		}
	}
	sort.Slice(ix.ranges, func(i, j int) bool { return ix.ranges[i].low < ix.ranges[j].low })
	t.index = ix
	return t
}

// Lookup returns the route set a message belongs to: by value, or by the unit that produced it if value is empty. ok is false if no
// rule matches; nobody processes such a message, and that is reported (P5). Lock-free, no allocation.
func (t *Table) Lookup(value, unit string) (set RouteSet, ok bool) {
	if x := t.Set(value, unit); x != nil {
		return *x, true
	}
	return RouteSet{}, false
}

// Set is Lookup without a copy: nil if no rule matches. The set is part of the table and must not be changed.
func (t *Table) Set(value, unit string) *RouteSet {
	x := t.find(value, unit)
	if x == nil || !x.known {
		return nil
	}
	return &x.set
}

// SetID is Lookup for callers that need only the id.
func (t *Table) SetID(value, unit string) (string, bool) {
	if x := t.find(value, unit); x != nil {
		return x.id, true
	}
	return "", false
}

func (t *Table) find(value, unit string) *indexed {
	ix := t.index
	if ix == nil {
		return nil
	}
	if value == "" {
		return ix.unit[unit]
	}
	if x := ix.exact[value]; x != nil {
		return x
	}
	if i := sort.Search(len(ix.ranges), func(i int) bool { return ix.ranges[i].low > value }); i > 0 && value < ix.ranges[i-1].high {
		return ix.ranges[i-1].indexed
	}
	if ix.slots != nil {
		if x := ix.slots[Slot(value)]; x != nil {
			return x
		}
	}
	return ix.def
}

// Slot is the hash slot of a value.
func Slot(value string) int {
	h := fnv.New32a()
	h.Write([]byte(value)) //nolint:errcheck // never fails
	return int(h.Sum32() % Slots)
}

// Routers lists the exact values per unit in the published shape, sorted.
func (t *Table) Routers() []RouterEntry {
	byUnit := map[string][]string{}
	for _, r := range t.Rules {
		if r.Kind == RuleExact {
			owner := t.Sets[r.Set].Owner
			byUnit[owner] = append(byUnit[owner], r.Value)
		}
	}
	var out []RouterEntry
	for u, vs := range byUnit {
		sort.Strings(vs)
		out = append(out, RouterEntry{u, vs})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].UnitName < out[j].UnitName })
	return out
}

// Units registers the units of an installation (design section 5, second document).
type Units struct {
	Units []UnitInfo `json:"units"`
}

// UnitInfo is one unit: where its cluster is and which groups are managed there.
type UnitInfo struct {
	Name        string   `json:"name"`
	NameServers []string `json:"nameServers"`
	State       string   `json:"state"` // live | quarantined
	Groups      []string `json:"groups,omitempty"`
	Brokers     []string `json:"brokers,omitempty"`     // whose logs hold facts; agents add them, and only people take one out that is gone for good
	Credentials string   `json:"credentials,omitempty"` // reference by which an AccessFunc finds account and TLS; never a secret
}

// Find returns a unit by name.
func (u *Units) Find(name string) (UnitInfo, bool) {
	for _, x := range u.Units {
		if x.Name == name {
			return x, true
		}
	}
	return UnitInfo{}, false
}

// With lists a group as managed in a unit, and brokers whose logs hold its facts.
func (u *Units) With(unit, group string, brokers []string) *Units {
	add := func(list []string, more ...string) []string {
		out := slices.Clone(list)
		for _, name := range slices.Sorted(slices.Values(more)) {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
		return out
	}
	out := &Units{Units: slices.Clone(u.Units)}
	for i, info := range out.Units {
		if info.Name == unit {
			out.Units[i].Groups, out.Units[i].Brokers = add(info.Groups, group), add(info.Brokers, brokers...)
		}
	}
	return out
}

// Names lists the unit names in document order.
func (u *Units) Names() []string {
	out := make([]string, len(u.Units))
	for i, x := range u.Units {
		out[i] = x.Name
	}
	return out
}

// Topic names of the module inside each cluster (design sections 6 and 7).
const (
	ProgressTopic   = "MSHA_PROGRESS"
	LockGroupPrefix = "MSHA_LOCK_"
)

// ReplicaTopic is the topic of a target cluster that holds the copies of topic made in unit: the default name template.
func ReplicaTopic(topic, unit string) string { return topic + "-from-" + unit }
