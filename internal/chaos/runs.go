package chaos

import (
	"fmt"
	"slices"
	"time"
)

// run is one call of a handler for one message.
type run struct {
	process, key, value string
	start, end          time.Time // end: of one that was cut off, when its process was gone
	ended               Event     // End, Fail, or "" if its process was killed first
}

func (r run) unit() string { return unitOf(r.process) }

func (r run) String() string {
	how := map[Event]string{End: "ok", Fail: "failed", "": "cut off"}[r.ended]
	return fmt.Sprintf("%s %s to %s %s", r.process, clock(r.start), clock(r.end), how)
}

// account is what the journals say, put in order.
type account struct {
	sent, unsure map[string]string // key -> value
	runs         map[string][]run  // by key, in the order of their ends
	problems     []string          // with the journals themselves
}

// accountOf joins the lines of runs, and of what was sent.
func accountOf(e *Evidence) *account {
	a := &account{sent: map[string]string{}, unsure: map[string]string{}, runs: map[string][]run{}}
	type id struct {
		process string
		run     int
	}
	open, last := map[id]run{}, map[string]int{}
	for _, l := range e.Lines {
		if l.Seq != last[l.Process]+1 {
			a.problem("%s: line %d follows line %d", l.Process, l.Seq, last[l.Process])
		}
		last[l.Process] = l.Seq
		at := id{l.Process, l.Run}
		switch l.Event {
		case Sent:
			a.sent[l.Key] = l.Value
		case Unsure:
			a.unsure[l.Key] = l.Value
		case Start:
			open[at] = run{process: l.Process, key: l.Key, value: l.Value, start: l.At}
		default:
			r, ok := open[at]
			if !ok || r.key != l.Key {
				a.problem("%s: line %d ends a run of %s that did not start", l.Process, l.Seq, l.Key)
				continue
			}
			delete(open, at)
			r.end, r.ended = l.At, l.Event
			a.runs[l.Key] = append(a.runs[l.Key], r)
		}
	}
	killed := map[string]time.Time{}
	for _, f := range e.Faults {
		for _, agent := range f.killed() {
			killed[agent] = f.Gone
		}
	}
	for _, r := range open {
		gone, ok := killed[r.process]
		if !ok {
			a.problem("%s: the handler of %s did not end", r.process, r.key)
			continue
		}
		r.end = gone
		a.runs[r.key] = append(a.runs[r.key], r)
	}
	for _, runs := range a.runs {
		slices.SortFunc(runs, func(a, b run) int { return a.end.Compare(b.end) })
	}
	return a
}

func (a *account) problem(format string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}
