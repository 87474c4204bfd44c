package filter

import (
	"cmp"
	"slices"
)

// Window is what was pulled from a local queue and not acknowledged yet: it tells which offset may be committed. The zero value is empty.
type Window struct {
	entries []windowEntry // ascending; the first one is not acknowledged
}

type windowEntry struct {
	offset int64
	done   bool
}

// Add notes a pulled message; offsets ascend.
func (w *Window) Add(offset int64) { w.entries = append(w.entries, windowEntry{offset: offset}) }

// Len is how many offsets there are from the first one that is not acknowledged on.
func (w *Window) Len() int { return len(w.entries) }

// Acknowledge notes that nothing more has to be done for a message. An offset that is not in the window is ignored.
func (w *Window) Acknowledge(offset int64) {
	i, found := slices.BinarySearchFunc(w.entries, offset, func(e windowEntry, offset int64) int { return cmp.Compare(e.offset, offset) })
	if found {
		w.entries[i].done = true
	}
	for len(w.entries) > 0 && w.entries[0].done {
		w.entries = w.entries[1:]
	}
}

// Committable is the first offset that is not acknowledged, or next, the first one not pulled.
func (w *Window) Committable(next int64) int64 {
	if len(w.entries) > 0 {
		return w.entries[0].offset
	}
	return next
}
