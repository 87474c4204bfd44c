package main

import (
	"maps"
	"slices"
	"sort"
	"sync"
)

// Journal is the gateway's own evidence: what MTR sent and what the carrier accepted, by message id. The demo's verdict is counted
// from it, never from the toolkit's facts.
type Journal struct {
	mu      sync.Mutex
	entries Entries
}

// Entries are what a journal holds, as GET /journal answers it.
type Entries struct {
	Sent      map[string]string   `json:"sent"`      // id -> unit that produced it
	Processed map[string][]string `json:"processed"` // id -> units whose carrier accepted it, in order
	Refused   map[string]int      `json:"refused"`   // unit -> deliveries its carrier did not take
}

func newEntries() Entries {
	return Entries{Sent: map[string]string{}, Processed: map[string][]string{}, Refused: map[string]int{}}
}

// NewJournal returns an empty journal.
func NewJournal() *Journal { return &Journal{entries: newEntries()} }

// Sent records that MTR of unit got an answer for message id.
func (j *Journal) Sent(unit, id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries.Sent[id] = unit
}

// Processed records that the carrier of unit accepted message id.
func (j *Journal) Processed(unit, id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries.Processed[id] = append(j.entries.Processed[id], unit)
}

// Refused records that the carrier of unit did not take a message.
func (j *Journal) Refused(unit string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries.Refused[unit]++
}

// Entries returns a copy of what was recorded so far.
func (j *Journal) Entries() Entries {
	all := newEntries()
	j.mu.Lock()
	defer j.mu.Unlock()
	all.Add(j.entries)
	return all
}

// Add joins what another process recorded.
func (e *Entries) Add(other Entries) {
	maps.Copy(e.Sent, other.Sent)
	for id, units := range other.Processed {
		e.Processed[id] = slices.Concat(e.Processed[id], units)
	}
	for unit, n := range other.Refused {
		e.Refused[unit] += n
	}
}

// Counts is the verdict over a journal.
type Counts struct {
	Sent, Processed, Lost, Repeated int
	By                              map[[2]string]int // {produced in, processed in} -> messages
}

// Count compares the two sides.
func (e Entries) Count() Counts {
	c := Counts{Sent: len(e.Sent), By: map[[2]string]int{}}
	for id, from := range e.Sent {
		units := e.Processed[id]
		if len(units) == 0 {
			c.Lost++
			continue
		}
		c.Processed++
		c.Repeated += len(units) - 1
		c.By[[2]string{from, units[0]}]++
	}
	return c
}

// Missing lists the ids that were sent and never processed, for the error message.
func (e Entries) Missing() []string {
	var ids []string
	for id := range e.Sent {
		if len(e.Processed[id]) == 0 {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	return ids
}
