package consume

import (
	"fmt"
	"slices"
	"sync"
)

// run is one call of a handler for one message.
type run struct {
	key, by  string // message, member
	topic    string
	value    string // in the handler's context
	set      string
	term     uint64
	attempt  int32
	together int // messages of the call
	ok, done bool
}

// journal is the evidence: each run of a handler, in the order of their starts.
type journal struct {
	mu   sync.Mutex
	runs []*run
}

func (j *journal) begin(r *run) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.runs = append(j.runs, r)
}

func (j *journal) end(r *run, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r.ok, r.done = ok, true
}

// of gives the runs of a message.
func (j *journal) of(key string) (out []run) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.runs {
		if r.key == key {
			out = append(out, *r)
		}
	}
	return out
}

// all gives all runs.
func (j *journal) all() (out []run) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.runs {
		out = append(out, *r)
	}
	return out
}

// count is how many runs satisfy a condition.
func (j *journal) count(cond func(run) bool) (n int) {
	for _, r := range j.all() {
		if cond(r) {
			n++
		}
	}
	return n
}

func (j *journal) started() int { return j.count(func(run) bool { return true }) }

func (j *journal) succeeded() int { return j.count(func(r run) bool { return r.ok }) }

func (j *journal) running() int { return j.count(func(r run) bool { return !r.done }) }

func (j *journal) by(member string) int { return j.count(func(r run) bool { return r.by == member }) }

// wrong lists the messages whose number of successful runs is not one, and runs of other messages.
func (j *journal) wrong(keys []string) (out []string) {
	ok := map[string]int{}
	for _, r := range j.all() {
		if r.ok {
			ok[r.key]++
		}
		if !slices.Contains(keys, r.key) {
			out = append(out, "foreign "+r.key)
		}
	}
	for _, key := range keys {
		if ok[key] != 1 {
			out = append(out, fmt.Sprintf("%s processed %d times", key, ok[key]))
		}
	}
	return out
}
