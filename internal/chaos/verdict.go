package chaos

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/spread"
)

// Verdict is what a round's evidence proves.
type Verdict struct {
	Sent, Processed, Lost int // messages that a broker acknowledged
	Unsure                int // sends without a clear answer: such a message may be missing, but must not be repeated
	Repeated, Allowed     int // successful runs of a message beyond its first; those that killed or frozen work accounts for
	FailedRuns            int
	Switches              int // that ended as they should
	Outcomes              map[Outcome]int
	Sites, Forced         int             // that died; switches that moved their routes by force
	Pauses                []time.Duration // of moved routes, sorted
	OldestAllowed         time.Duration   // how long before a kill or freeze the oldest work had ended that was repeated
	Problems              []string        // everything that must not be
}

// Judge counts.
func Judge(e *Evidence) *Verdict {
	a := accountOf(e)
	v := &Verdict{Sent: len(a.sent), Unsure: len(a.unsure), Outcomes: map[Outcome]int{}, Problems: a.problems, Pauses: pauses(e, a)}
	for _, s := range e.Switches {
		v.Outcomes[s.Outcome]++
		switch {
		case s.Forced && s.Outcome == Done:
			v.Forced++
		case s.Forced && s.Outcome != Nothing:
			v.problem("not moved by force although their site is dead: %s", s)
		}
	}
	for _, f := range e.Faults {
		if f.Kind == KillSite {
			v.Sites++
		}
	}
	v.Switches = v.Outcomes[Done]
	v.missing(a)
	v.repeats(e, a)
	v.overlaps(a)
	return v
}

// missing counts what was processed.
func (v *Verdict) missing(a *account) {
	for _, key := range sorted(a.sent) {
		if slices.ContainsFunc(a.runs[key], func(r run) bool { return r.ended == End }) {
			v.Processed++
			continue
		}
		v.Lost++
		v.problem("lost: %s of %s%s", key, a.sent[key], list(a.runs[key]))
	}
	for _, key := range sorted(a.runs) {
		_, sent := a.sent[key]
		if _, unsure := a.unsure[key]; !sent && !unsure {
			v.problem("nobody sent %s%s", key, list(a.runs[key]))
		}
	}
}

func (v *Verdict) repeats(e *Evidence, a *account) {
	excuses := e.excuses()
	for _, key := range sorted(a.runs) {
		var first *run
		for _, r := range a.runs[key] {
			switch {
			case r.ended == Fail:
				v.FailedRuns++
			case r.ended == End && first == nil:
				first = &r
			case r.ended == End:
				v.Repeated++
				if x, ok := covers(excuses, *first, r); ok {
					v.Allowed++
					v.OldestAllowed = max(v.OldestAllowed, x.fault.From.Sub(first.end))
				} else {
					v.problem("repeated: %s of %s%s\n\twhile%s", key, r.value, list(a.runs[key]), e.around(first.start, r.end, r.value))
				}
				first = &r
			}
		}
	}
}

// overlaps finds moments at which two units ran handlers of one routing value (promise P1).
func (v *Verdict) overlaps(a *account) {
	byValue := map[string][]run{}
	for _, runs := range a.runs {
		for _, r := range runs {
			if r.value != NoValue {
				byValue[r.value] = append(byValue[r.value], r)
			}
		}
	}
	for _, value := range sorted(byValue) {
		runs := byValue[value]
		slices.SortFunc(runs, func(a, b run) int { return a.start.Compare(b.start) })
		last := map[string]run{} // by unit, the one that ends last
		for _, r := range runs {
			for _, unit := range sorted(last) {
				if other := last[unit]; unit != r.unit() && r.start.Before(other.end) {
					v.problem("two owners of %s:%s", value, list([]run{other, r}))
				}
			}
			if r.end.After(last[r.unit()].end) {
				last[r.unit()] = r
			}
		}
	}
}

// String is the verdict in one line.
func (v *Verdict) String() string {
	return fmt.Sprintf("chaos: %d sent, %d processed, %d lost, %d repeated (%d allowed by killed work), %d switches, p50/p99 pause %d/%d ms",
		v.Sent, v.Processed, v.Lost, v.Repeated, v.Allowed, v.Switches, spread.Quantile(v.Pauses, 0.5).Milliseconds(), spread.Quantile(v.Pauses, 0.99).Milliseconds())
}

// Details is a second line, for whom the first one is not enough.
func (v *Verdict) Details() string {
	return fmt.Sprintf("%d sends without an answer, %d failed runs, switches: %d done, %d aborted, %d unanswered, %d without anything to move; "+
		"%d sites died, the routes of %d moved by force; %d pauses, the longest %v; the oldest work repeated ended %v before its process was killed or frozen",
		v.Unsure, v.FailedRuns, v.Outcomes[Done], v.Outcomes[Aborted], v.Outcomes[Unanswered], v.Outcomes[Nothing], v.Sites, v.Forced,
		len(v.Pauses), spread.Quantile(v.Pauses, 1).Round(time.Millisecond), v.OldestAllowed.Round(time.Millisecond))
}

const shown = 20

// Err is nil if nothing is lost and every repetition is accounted for; otherwise it tells of the first problems.
func (v *Verdict) Err() error {
	if len(v.Problems) == 0 {
		return nil
	}
	text := strings.Join(v.Problems[:min(shown, len(v.Problems))], "\n")
	if more := len(v.Problems) - shown; more > 0 {
		text += fmt.Sprintf("\nand %d more", more)
	}
	return errors.New(text)
}

func (v *Verdict) problem(format string, args ...any) {
	v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
}

func list(runs []run) string {
	var b strings.Builder
	for _, r := range runs {
		b.WriteString("\n\t" + r.String())
	}
	return b.String()
}
