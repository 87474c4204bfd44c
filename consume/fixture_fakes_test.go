package consume

import (
	"slices"
	"strings"
	"sync"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
)

// router is a msha.Router whose table can be replaced.
type router struct {
	mu      sync.Mutex
	table   *msha.Table
	changed chan struct{}
}

func newRouter(t *msha.Table) *router { return &router{table: t, changed: make(chan struct{})} }

func (r *router) Table() *msha.Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table
}

func (r *router) Changed(version uint64) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.table.Version > version {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return r.changed
}

func (r *router) set(t *msha.Table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table = t
	close(r.changed)
	r.changed = make(chan struct{})
}

// output keeps what was logged.
type output struct{ logtest.Log }

// says tells whether a line holds all the parts.
func (o *output) says(parts ...string) bool {
	for line := range strings.Lines(o.String()) {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			return true
		}
	}
	return false
}

// count is how often the log holds a text.
func (o *output) count(text string) int { return strings.Count(o.String(), text) }

func (o *output) tail(n int) string {
	s := o.String()
	return s[max(0, len(s)-n):]
}
