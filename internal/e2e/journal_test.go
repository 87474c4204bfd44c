package e2e

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"
)

// journal is the evidence: what producers got an answer for, and each run of a handler. Messages are told apart by their key.
type journal struct {
	mu    sync.Mutex
	sent  map[string]sent
	maybe map[string]bool // sends that got no clear answer
	now   map[string]bool // handlers called and not returned
	runs  map[string][]run
}

type sent struct{ unit, value string }

// run is one call of a handler for one message.
type run struct {
	unit, instance, value string
	start, end            time.Time
	ok                    bool
}

func newJournal() *journal {
	return &journal{sent: map[string]sent{}, maybe: map[string]bool{}, now: map[string]bool{}, runs: map[string][]run{}}
}

func (j *journal) produced(key, unit, value string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sent[key] = sent{unit, value}
}

// produces is how many messages there are so far.
func (j *journal) produces() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.sent)
}

func (j *journal) unsure(key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.maybe[key] = true
}

func (j *journal) ran(key string, r run) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.now, key)
	j.runs[key] = append(j.runs[key], r)
}

// begun notes that a handler was called; it is forgotten once the run is recorded.
func (j *journal) begun(key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.now[key] = true
}

// running lists the messages whose handlers were called and have not returned.
func (j *journal) running() (keys []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for key := range j.now {
		keys = append(keys, key)
	}
	return keys
}

// attempts is how often a handler saw a message so far.
func (j *journal) attempts(key string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.runs[key])
}

// verdict is what a journal proves.
type verdict struct {
	Sent, Processed, Lost, Repeated int
	Failed                          int // runs of a handler that failed
	ByUnit                          map[string]int
	Twice                           []string // values started in one unit while a handler of another ran
	Foreign                         int      // runs of messages nobody produced
	missing, repeats                []string
}

func (v verdict) String() string {
	s := fmt.Sprintf("%d sent, %d processed, %d lost, %d repeated, %d failed runs, by unit %v", v.Sent, v.Processed, v.Lost, v.Repeated, v.Failed, v.ByUnit)
	if len(v.missing) > 0 {
		s += fmt.Sprintf(", missing %v", v.missing[:min(len(v.missing), 10)])
	}
	if len(v.repeats) > 0 {
		s += fmt.Sprintf(", repeated %q", v.repeats[:min(len(v.repeats), 10)])
	}
	if len(v.Twice) > 0 {
		s += fmt.Sprintf(", overlapping %v", v.Twice[:min(len(v.Twice), 5)])
	}
	return s
}

func (j *journal) verdict() verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := verdict{Sent: len(j.sent), ByUnit: map[string]int{}}
	for key, s := range j.sent {
		ok := 0
		for _, r := range j.runs[key] {
			if r.ok {
				ok++
				v.ByUnit[r.unit]++
			} else {
				v.Failed++
			}
		}
		if ok == 0 {
			v.Lost++
			v.missing = append(v.missing, fmt.Sprintf("%s (%s from %s, %d runs)", key, s.value, s.unit, len(j.runs[key])))
			continue
		}
		v.Processed++
		v.Repeated += ok - 1
		if ok > 1 {
			var runs []string
			for _, r := range j.runs[key] {
				runs = append(runs, fmt.Sprintf("%s ok=%v %s-%s", r.instance, r.ok, r.start.Format("05.000"), r.end.Format("05.000")))
			}
			v.repeats = append(v.repeats, key+": "+strings.Join(runs, ", "))
		}
	}
	sort.Strings(v.missing)
	sort.Strings(v.repeats)
	for key := range j.runs {
		if _, known := j.sent[key]; !known && !j.maybe[key] {
			v.Foreign++
		}
	}
	v.Twice = j.overlaps()
	return v
}

// overlaps finds moments at which two units ran handlers of one routing value (promise P1); the lock is held.
func (j *journal) overlaps() (out []string) {
	byValue := map[string][]run{}
	for _, rs := range j.runs {
		for _, r := range rs {
			byValue[r.value] = append(byValue[r.value], r)
		}
	}
	for value, rs := range byValue {
		sort.Slice(rs, func(a, b int) bool { return rs[a].start.Before(rs[b].start) })
		ends := map[string]time.Time{} // latest end by unit
		for _, r := range rs {
			for unit, end := range ends {
				if unit != r.unit && r.start.Before(end) {
					out = append(out, fmt.Sprintf("%s: %s started %v before %s ended", value, r.unit, end.Sub(r.start), unit))
				}
			}
			if r.end.After(ends[r.unit]) {
				ends[r.unit] = r.end
			}
		}
	}
	return out
}

// longestPause is the longest time between two starts of handlers.
func (j *journal) longestPause(from, to time.Time) (longest time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	starts := []time.Time{from, to}
	for _, runs := range j.runs {
		for _, r := range runs {
			if r.start.After(from) && r.start.Before(to) {
				starts = append(starts, r.start)
			}
		}
	}
	sort.Slice(starts, func(a, b int) bool { return starts[a].Before(starts[b]) })
	for i := 1; i < len(starts); i++ {
		longest = max(longest, starts[i].Sub(starts[i-1]))
	}
	return longest
}
