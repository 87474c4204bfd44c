package chaos

import (
	"maps"
	"slices"
	"time"
)

// locks is how long a broker keeps a dead process's queue locks, and processes wait for a holder whose lock died with the broker.
const locks = 60 * time.Second

// recovered is from when on a fault does not disturb switches any more. A dead agent is waited for until its gate must have closed. After a
// broker's death all queues of the unit may change hands. Otherwise connections are made again.
func (f Fault) recovered() time.Time {
	switch f.Kind {
	case KillBroker, KillSite:
		return f.Until.Add(locks + 10*time.Second)
	case KillAgent:
		return f.Until.Add(35 * time.Second)
	}
	return f.Until.Add(5 * time.Second)
}

// pauses are, for each value of each switch that was not disturbed, the time from the last start of a handler at the old owner to the
// first one at the new owner. A switch is disturbed if between the request for it and that first start any fault was there, or not recovered
// from. Where the value moved on before it was seen at the new owner, or nothing was sent any more, there is no pause to measure.
func pauses(e *Evidence, a *account) (out []time.Duration) {
	starts := map[string][]run{}
	for _, runs := range a.runs {
		for _, r := range runs {
			starts[r.value] = append(starts[r.value], r)
		}
	}
	for _, runs := range starts {
		slices.SortFunc(runs, func(a, b run) int { return a.start.Compare(b.start) })
	}
	for _, s := range e.Switches {
		if s.Outcome != Done {
			continue
		}
		for _, value := range s.Values {
			last, first, ok := sides(starts[value], s)
			if ok && first.start.Before(e.Loaded) && !e.disturbed(s.Begun, first.start) && !e.movedAgain(s, value, first.start) {
				out = append(out, first.start.Sub(last.start))
			}
		}
	}
	slices.Sort(out)
	return out
}

// sides are the runs between which a value changed hands.
func sides(starts []run, s Switch) (last, first run, ok bool) {
	i := slices.IndexFunc(starts, func(r run) bool { return r.start.After(s.Begun) && r.unit() == s.To })
	if i < 1 || starts[i-1].unit() == s.To {
		return last, first, false
	}
	return starts[i-1], starts[i], true
}

func (e *Evidence) disturbed(from, to time.Time) bool {
	return slices.ContainsFunc(e.Faults, func(f Fault) bool {
		return f.From.Before(to) && f.recovered().After(from)
	})
}

// movedAgain says whether another switch of a value was asked for before a time.
func (e *Evidence) movedAgain(s Switch, value string, before time.Time) bool {
	return slices.ContainsFunc(e.Switches, func(other Switch) bool {
		return other.Ended.After(s.Ended) && other.Begun.Before(before) && slices.Contains(other.Values, value)
	})
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
