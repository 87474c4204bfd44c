package main

import (
	"strings"
	"time"

	"github.com/go-msha/msha/internal/chaos"
)

// progress is what the journals have said so far, for the script to wait by.
type progress struct {
	sent, done map[string]bool // by key
	left       map[place]int   // sent and not done
	runs       map[string]int  // by process
	at         time.Time       // when a handler began or ended last
}

// place is what the script counts by.
type place struct{ scenario, city string }

func newProgress() progress {
	return progress{sent: map[string]bool{}, done: map[string]bool{}, left: map[place]int{}, runs: map[string]int{}}
}

// scenarioOf is the part of a key before the first slash.
func scenarioOf(key string) string {
	scenario, _, _ := strings.Cut(key, "/")
	return scenario
}

func (p *progress) add(l chaos.Line) {
	at := place{scenarioOf(l.Key), l.Value}
	switch l.Event {
	case chaos.Sent:
		if p.sent[l.Key] = true; !p.done[l.Key] {
			p.left[at]++
		}
		return
	case chaos.Unsure:
		return
	case chaos.Start:
		p.runs[l.Process]++
	case chaos.End:
		if p.sent[l.Key] && !p.done[l.Key] {
			p.left[at]--
		}
		p.done[l.Key] = true
	}
	if l.At.After(p.at) {
		p.at = l.At
	}
}

// unprocessed is how many messages of a scenario were sent and not processed.
func (p *progress) unprocessed(scenario string) (n int) {
	for at, left := range p.left {
		if at.scenario == scenario {
			n += left
		}
	}
	return n
}
