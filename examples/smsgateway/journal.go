package main

import (
	"sort"
	"sync"
)

// Journal is the demo's own evidence: what MTR sent and what the carrier accepted, by message id. The verdict is counted from it,
// never from the toolkit's facts.
type Journal struct {
	mu        sync.Mutex
	sent      map[string]string   // id -> unit that produced it
	processed map[string][]string // id -> units whose carrier accepted it, in order
}

// NewJournal returns an empty journal.
func NewJournal() *Journal {
	return &Journal{sent: map[string]string{}, processed: map[string][]string{}}
}

// Sent records that MTR of unit got an answer for message id.
func (j *Journal) Sent(unit, id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sent[id] = unit
}

// Processed records that the carrier of unit accepted message id.
func (j *Journal) Processed(unit, id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.processed[id] = append(j.processed[id], unit)
}

// Counts is the verdict over a journal.
type Counts struct {
	Sent, Processed, Lost, Repeated int
	By                              map[[2]string]int // {produced in, processed in} -> messages
}

// Count compares the two sides.
func (j *Journal) Count() Counts {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := Counts{Sent: len(j.sent), By: map[[2]string]int{}}
	for id, from := range j.sent {
		units := j.processed[id]
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
func (j *Journal) Missing() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var ids []string
	for id := range j.sent {
		if len(j.processed[id]) == 0 {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	return ids
}
