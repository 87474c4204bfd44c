package sim

import (
	"fmt"
	"strings"

	"github.com/go-msha/msha"
)

// traceLen is how many of the last events a failing run prints.
const traceLen = 400

type traced struct {
	at        int64
	who, what string
	origin    msha.Origin
	detail    string
}

// trace keeps the last events and a hash of all of them.
type trace struct {
	ring []traced
	n    int
	hash uint64
	keep func(traced) bool // nil: everything
}

func (t *trace) add(e traced) {
	const prime = 1099511628211
	mix := func(s string) {
		for i := range len(s) {
			t.hash = (t.hash ^ uint64(s[i])) * prime
		}
		t.hash = (t.hash ^ 0xff) * prime
	}
	mix(e.who)
	mix(e.what)
	mix(e.detail)
	mix(e.origin.Unit)
	t.hash = (t.hash ^ uint64(e.at)) * prime
	t.hash = (t.hash ^ uint64(e.origin.Offset+1)) * prime
	if t.ring == nil {
		t.ring = make([]traced, traceLen)
	}
	if t.keep == nil || t.keep(e) {
		t.ring[t.n%traceLen] = e
		t.n++
	}
}

// String lists the last events.
func (t *trace) String() string {
	var b strings.Builder
	for i := max(0, t.n-traceLen); i < t.n; i++ {
		e := t.ring[i%traceLen]
		fmt.Fprintf(&b, "%7d %-12s %-18s", e.at, e.who, e.what)
		if e.origin.Topic != "" {
			fmt.Fprintf(&b, " %s", e.origin)
		}
		if e.detail != "" {
			fmt.Fprintf(&b, " %s", e.detail)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
