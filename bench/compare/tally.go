package main

import (
	"maps"
	"slices"
	"time"

	"github.com/go-msha/msha/internal/chaos"
)

// evidence is what a side is judged by: the journals, and what was done to whom and when.
type evidence struct {
	lines  []chaos.Line
	stages []stage // in order
	kills  []kill
	moves  []move
}

// stage is a scenario's part of the time; it ends where the next one begins.
type stage struct {
	scenario string
	from     time.Time
}

type kill struct {
	process string
	at      time.Time
}

type move struct {
	city, to string
	begun    time.Time
}

// ownedBy lists the cities of a unit.
func (e evidence) ownedBy(unit string) (cities []string) {
	owner := maps.Clone(home)
	for _, m := range e.moves {
		owner[m.city] = m.to
	}
	for _, city := range slices.Sorted(maps.Keys(owner)) {
		if owner[city] == unit {
			cities = append(cities, city)
		}
	}
	return cities
}

// unpublished is how old work may be that the library's agents had not published when they were killed: a second from one time to the next,
// and another one for a busy machine.
const unpublished = 2 * time.Second

// count is what one side made of one scenario.
type count struct {
	sent, lost int
	repeated   int             // successful runs of a message beyond its first
	killed     int             // of them, those of work that a killed process had ended within unpublished
	atOnce     int             // messages that were in the hands of both units at a time
	pauses     []time.Duration // of switches
	waited     time.Duration   // the longest from a producer's answer to the first start, where nothing was switched
}

// worse says whether this is more than a library may do.
func (c count) worse() bool { return c.lost > 0 || c.repeated > c.killed }

// run is one call of a handler for one message.
type run struct {
	process, unit, key, city string
	start, end               time.Time
	ok                       bool
}

// tally counts by scenario: what was sent and lost in the one in which it was sent, the rest in the one in which it happened.
func tally(e evidence) map[string]*count {
	counts := map[string]*count{}
	for _, s := range e.stages {
		counts[s.scenario] = &count{}
	}
	of := func(at time.Time) *count { return counts[e.scenarioAt(at)] }
	sent, runs := account(e)
	for key, at := range sent {
		c, rs := counts[scenarioOf(key)], runs[key]
		c.sent++
		if !slices.ContainsFunc(rs, func(r run) bool { return r.ok }) {
			c.lost++
		}
		if len(rs) > 0 {
			c.waited = max(c.waited, earliest(rs).start.Sub(at))
		}
	}
	for _, rs := range runs {
		ended := slices.SortedFunc(slices.Values(rs), func(a, b run) int { return a.end.Compare(b.end) })
		ended = slices.DeleteFunc(ended, func(r run) bool { return !r.ok })
		for i := 1; i < len(ended); i++ {
			c := of(ended[i].end)
			if c.repeated++; e.excuses(ended[i-1]) {
				c.killed++
			}
		}
		if at, ok := atOnce(rs); ok {
			of(at).atOnce++
		}
	}
	for _, m := range e.moves {
		if p, ok := pauseOf(m, runs); ok {
			c := of(m.begun)
			c.pauses = append(c.pauses, p)
		}
	}
	return counts
}

// scenarioAt is the one that played at a time.
func (e evidence) scenarioAt(at time.Time) string {
	name := e.stages[0].scenario
	for _, s := range e.stages {
		if !s.from.After(at) {
			name = s.scenario
		}
	}
	return name
}

// excuses says whether a run's process was killed so soon afterwards that nobody else could know of it.
func (e evidence) excuses(r run) bool {
	return slices.ContainsFunc(e.kills, func(k kill) bool { return k.process == r.process && r.end.After(k.at.Add(-unpublished)) })
}

// account joins the lines of runs, by key. One that did not end was cut off: it is no success, and lasted until its process's last line.
func account(e evidence) (sent map[string]time.Time, runs map[string][]run) {
	type id struct {
		process string
		run     int
	}
	open, last := map[id]run{}, map[string]time.Time{}
	sent, runs = map[string]time.Time{}, map[string][]run{}
	for _, l := range e.lines {
		last[l.Process] = l.At
		at := id{l.Process, l.Run}
		switch l.Event {
		case chaos.Sent:
			sent[l.Key] = l.At
		case chaos.Unsure:
		case chaos.Start:
			open[at] = run{process: l.Process, unit: l.Unit(), key: l.Key, city: l.Value, start: l.At}
		default:
			r := open[at]
			delete(open, at)
			r.end, r.ok = l.At, l.Event == chaos.End
			runs[l.Key] = append(runs[l.Key], r)
		}
	}
	for _, r := range open {
		r.end = last[r.process]
		runs[r.key] = append(runs[r.key], r)
	}
	return sent, runs
}

func earliest(rs []run) run {
	return slices.MinFunc(rs, func(a, b run) int { return a.start.Compare(b.start) })
}

// atOnce finds two runs of one message that overlap in different units.
func atOnce(rs []run) (at time.Time, ok bool) {
	for i, a := range rs {
		for _, b := range rs[i+1:] {
			if a.unit != b.unit && a.start.Before(b.end) && b.start.Before(a.end) {
				return later(a.start, b.start), true
			}
		}
	}
	return at, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pauseOf is the time from the last start at the old owner to the first one at the new owner. What the old owner only tries again is not counted:
// the loop does that whoever owns the city.
func pauseOf(m move, runs map[string][]run) (time.Duration, bool) {
	var first, last time.Time
	for _, rs := range runs {
		for _, r := range rs {
			if r.city == m.city && r.unit == m.to && r.start.After(m.begun) && (first.IsZero() || r.start.Before(first)) {
				first = r.start
			}
		}
	}
	for _, rs := range runs {
		r := earliest(rs)
		if r.city == m.city && r.unit != m.to && r.start.Before(first) && r.start.After(last) {
			last = r.start
		}
	}
	return first.Sub(last), !first.IsZero() && !last.IsZero()
}
