package switchplan

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Report is the outcome of a switch. Its JSON form is Answer.
type Report struct {
	Task             string
	State            string        // of the order when the report was made; "" if there is none: refused before anything was begun
	Moved            []string      // routing values, sorted; "@unit" for what has no value
	TakenOver        int64         // processed by the new owner of what the old one had left, when the report was made
	Pending          int64         // left when Run stopped waiting; the new owner goes on
	PossiblyRepeated int64         // started by an owner that died before it could say so
	Unknown          int64         // cannot be decided from the facts
	Phases           []PhaseResult // phases and steps, in order; the one that failed is not among them
	Pause            time.Duration // between fence and commit nobody started messages of the routes
	Duration         time.Duration
	By               string     // who asked for the switch, if that is known
	Overrides        []Override // guards that would have refused it
	Decisions        []Decision // of approvals
}

// PhaseResult says how one phase or step went.
type PhaseResult struct {
	Phase       string        `json:"phase"`
	Duration    time.Duration `json:"duration"`
	Note        string        `json:"note,omitempty"`
	Attempts    int           `json:"attempts,omitempty"`    // of a user's step, if it was begun
	Skipped     string        `json:"skipped,omitempty"`     // why the step was skipped
	Interrupted bool          `json:"interrupted,omitempty"` // an attempt ran out of time and may have had an effect
}

// Override is a guard that somebody ordered to be passed by.
type Override struct {
	Guard string `json:"guard"` // its name, or allow-unmanaged=<group>
	By    string `json:"by,omitempty"`
	What  string `json:"what,omitempty"` // what the guard had said; empty if it had nothing to say
}

// Answer is a Report as JSON.
type Answer struct {
	Task             string        `json:"task"`
	State            string        `json:"state,omitempty"` // running | committed | done | aborted; missing: refused
	Moved            []string      `json:"moved"`           // routing values; "@unit" for what has none
	TakenOver        int64         `json:"takenOver"`       // processed by the new owner of what the old one had left
	Pending          int64         `json:"pending"`         // left when the answer was made; the new owner goes on
	PossiblyRepeated int64         `json:"possiblyRepeated"`
	Unknown          int64         `json:"unknown"`
	Phases           []PhaseAnswer `json:"phases"`
	Skipped          []string      `json:"skipped,omitempty"` // names of steps
	Retried          []string      `json:"retried,omitempty"` // names of steps that took more than one attempt
	PauseMS          float64       `json:"pauseMs"`           // between fence and commit
	DurationMS       float64       `json:"durationMs"`
	By               string        `json:"by,omitempty"`
	Overrides        []Override    `json:"overrides,omitempty"`
	Decisions        []Decision    `json:"decisions,omitempty"`
}

// PhaseAnswer is one phase or step of an Answer.
type PhaseAnswer struct {
	Phase      string  `json:"phase"`
	DurationMS float64 `json:"durationMs"`
	Note       string  `json:"note,omitempty"`
	Attempts   int     `json:"attempts,omitempty"`
	Skipped    string  `json:"skipped,omitempty"` // why
}

// Answer gives the JSON form.
func (r *Report) Answer() Answer {
	a := Answer{
		Task: r.Task, State: r.State, Moved: r.Moved, TakenOver: r.TakenOver, Pending: r.Pending, PossiblyRepeated: r.PossiblyRepeated, Unknown: r.Unknown,
		PauseMS: ms(r.Pause), DurationMS: ms(r.Duration), By: r.By, Overrides: r.Overrides, Decisions: r.Decisions,
	}
	for _, p := range r.Phases {
		a.Phases = append(a.Phases, p.answer())
		if p.Skipped != "" {
			a.Skipped = append(a.Skipped, p.Phase)
		}
		if p.Attempts > 1 {
			a.Retried = append(a.Retried, p.Phase)
		}
	}
	return a
}

func (p PhaseResult) answer() PhaseAnswer {
	return PhaseAnswer{Phase: p.Phase, DurationMS: ms(p.Duration), Note: p.Note, Attempts: p.Attempts, Skipped: p.Skipped}
}

// MarshalJSON writes the Answer.
func (r *Report) MarshalJSON() ([]byte, error) { return json.Marshal(r.Answer()) }

// String is one line for people.
func (r *Report) String() string {
	state := r.State
	if state == "" {
		state = "refused"
	}
	a := r.Answer()
	var b strings.Builder
	fmt.Fprintf(&b, "switch %s: %s, %s in %s, pause %s; taken over %d, pending %d, possibly repeated %d, unknown %d",
		r.Task, state, list(r.Moved), r.Duration.Round(time.Millisecond), r.Pause.Round(time.Millisecond), r.TakenOver, r.Pending, r.PossiblyRepeated, r.Unknown)
	for _, p := range r.Phases {
		if p.Attempts > 1 {
			fmt.Fprintf(&b, "; %s took %d attempts", p.Phase, p.Attempts)
		}
	}
	if len(a.Skipped) > 0 {
		b.WriteString("; skipped " + strings.Join(a.Skipped, ", "))
	}
	for _, d := range r.Decisions {
		b.WriteString("; " + d.Step + " " + d.String())
	}
	for i, o := range r.Overrides {
		if i == 0 {
			b.WriteString("; overridden ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(o.Guard)
	}
	if len(r.Overrides) > 0 && r.By != "" {
		b.WriteString(" by " + r.By)
	}
	return b.String()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
