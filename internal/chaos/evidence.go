package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is a kind of fault.
type Kind string

// The faults of design section 9 that a schedule is drawn from.
const (
	KillAgent        Kind = "kill agent"
	FreezeAgent      Kind = "freeze agent"
	KillReplicator   Kind = "kill replicator"
	FreezeReplicator Kind = "freeze replicator"
	KillManager      Kind = "kill manager"
	FreezeManager    Kind = "freeze manager"
	KillBroker       Kind = "kill broker"
	KillNameServer   Kind = "kill name server"
	KillStore        Kind = "kill metastore"
	KillSite         Kind = "kill site" // everything of a unit; its routes move by force while it is dead
	Partition        Kind = "partition"
	Delay            Kind = "delay"
)

// Fault says what was done to a target, and when.
type Fault struct {
	Kind   Kind      `json:"kind"`
	Target string    `json:"target"`           // of a process the name of that start of it; of a network the two units; of a site its unit
	Agents []string  `json:"agents,omitempty"` // that died with their site, by the names of those starts
	From   time.Time `json:"from"`             // just before it was done
	Gone   time.Time `json:"gone"`             // just after: a killed process has ended, a frozen one stands still
	Until  time.Time `json:"until"`            // the target, or what was started in its place, serves again
	// Uncopied is when the broker of a dead site stored the first publication that the unit which gets its routes has no copy of; zero: there is none.
	Uncopied time.Time `json:"uncopied,omitzero"`
}

// killed are the agents that it ended.
func (f Fault) killed() []string {
	if f.Kind == KillAgent {
		return []string{f.Target}
	}
	return f.Agents
}

func (f Fault) String() string {
	return fmt.Sprintf("%s %s %s to %s", f.Kind, f.Target, clock(f.From), clock(f.Until))
}

// Outcome is how a switch ended.
type Outcome string

// The outcomes.
const (
	Done       Outcome = "done"
	Aborted    Outcome = "aborted"    // as often as it was tried: a fault made it impossible
	Nothing    Outcome = "nothing"    // the values were there already, perhaps by an attempt without an answer
	Unanswered Outcome = "unanswered" // the manager died; another one finishes or aborts it
)

// Switch is what an operator asked for and was answered.
type Switch struct {
	Query   string    `json:"query"`
	Forced  bool      `json:"forced,omitempty"`
	Values  []string  `json:"values"` // that moved
	To      string    `json:"to"`
	Begun   time.Time `json:"begun"` // the attempt that succeeded, or the last one
	Ended   time.Time `json:"ended"` // its answer
	Tries   int       `json:"tries"`
	Outcome Outcome   `json:"outcome"`
	Note    string    `json:"note,omitempty"` // the last error
}

func (s Switch) String() string {
	text := fmt.Sprintf("switch %s %s to %s: %s", s.Query, clock(s.Begun), clock(s.Ended), s.Outcome)
	if s.Note != "" {
		text += ": " + s.Note
	}
	return text
}

func clock(t time.Time) string { return t.Format("04:05.000") }

// Evidence is what a round is judged by.
type Evidence struct {
	Lines    []Line    // of all journals
	Loaded   time.Time // until when messages were sent
	Faults   []Fault
	Switches []Switch
}

// around lists what happened near a time: what was done, and which switches moved a value or may have.
func (e *Evidence) around(from, to time.Time, value string) string {
	const near = 5 * time.Second
	from, to = from.Add(-near), to.Add(near)
	type entry struct {
		at   time.Time
		text string
	}
	var all []entry
	for _, f := range e.Faults {
		if f.From.Before(to) && f.Until.After(from) {
			all = append(all, entry{f.From, f.String()})
		}
	}
	for _, s := range e.Switches {
		if s.Begun.Before(to) && s.Ended.After(from) && (slices.Contains(s.Values, value) || s.Outcome == Aborted || s.Outcome == Unanswered) {
			all = append(all, entry{s.Begun, s.String()})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, x := range all {
		b.WriteString("\n\t\t" + x.text)
	}
	return b.String()
}
