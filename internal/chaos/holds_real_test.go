//go:build real

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// hold is a moment of a switch at which its manager stands still until it is told to go on, or killed. Who asks for the switch names it in
// `by`, so the manager that finishes the order for a dead one does not stop there.
type hold struct {
	Name  string // of its files
	Phase string
	Ended bool // not where the phase begins: it has done its work, and nobody knows yet
}

func (h hold) by() string {
	text, err := json.Marshal(h)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (h hold) String() string {
	if h.Ended {
		return "end of " + h.Phase
	}
	return h.Phase
}

// The files by which the test and a manager speak.
func (h hold) reached(dir string) string { return filepath.Join(dir, h.Name+".held") }
func (h hold) goOn(dir string) string    { return filepath.Join(dir, h.Name+".go") }

// holds are a manager's.
type holds struct {
	dir string

	mu     sync.Mutex
	byTask map[string]hold
}

func newHolds(dir string) *holds { return &holds{dir: dir, byTask: map[string]hold{}} }

// Plan learns which order is to be held, and where.
func (h *holds) Plan(ctx context.Context, req msha.SwitchRequest, view msha.View) (*msha.Plan, error) {
	plan, err := (&switchplan.Planner{}).Plan(ctx, req, view)
	var at hold
	if err == nil && json.Unmarshal([]byte(req.By), &at) == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.byTask[plan.ID] = at
	}
	return plan, err
}

func (h *holds) of(task string) (hold, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.byTask[task]
	return at, ok
}

// phase is the executor's observer: the phase begins once it returns.
func (h *holds) phase(task, phase string) {
	if at, ok := h.of(task); ok && !at.Ended && at.Phase == phase {
		h.stand(at)
	}
}

func (h *holds) stand(at hold) {
	if err := os.WriteFile(at.reached(h.dir), nil, 0o644); err != nil {
		panic(err)
	}
	for !exists(at.goOn(h.dir)) {
		time.Sleep(2 * time.Millisecond)
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// watched is a metastore in which the write that ends a phase may have to wait.
type watched struct {
	msha.MetaStore
	holds *holds
}

func (s *watched) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if key == msha.SwitchKey {
		var all switchplan.Orders
		if err := json.Unmarshal(value, &all); err != nil {
			return 0, fmt.Errorf("orders: %w", err)
		}
		for _, o := range all.Orders {
			at, ok := s.holds.of(o.ID)
			ended := func(p switchplan.PhaseResult) bool { return p.Phase == at.Phase }
			if ok && at.Ended && slices.ContainsFunc(o.Results, ended) { // with the end of a later phase, if that is written first
				s.holds.stand(at)
			}
		}
	}
	return s.MetaStore.Put(ctx, key, value, expect)
}

func (s *watched) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	return msha.GetFresh(ctx, s.MetaStore, key)
}

func (s *watched) Safe() error { return msha.Safe(s.MetaStore) }
