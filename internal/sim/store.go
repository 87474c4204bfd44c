package sim

import (
	"errors"

	"github.com/go-msha/msha"
)

var (
	errDown = errors.New("the metastore is down")
	errLost = errors.New("no answer")
)

// store is the metastore: the table, changed by compare-and-set, and the roster. While it is down nothing is read, written or
// delivered.
type store struct {
	w      *world
	down   bool
	table  *msha.Table
	roster msha.Roster
	orders map[string]*storedOrder
}

// do is one call; f runs at the server.
func (s *store) do(f func() error, then func(error)) {
	s.w.after(s.w.latency(), func() {
		err := errDown
		if !s.down {
			err = f()
		}
		s.w.after(s.w.latency(), func() { then(err) })
	})
}

// ask is a call from a process of a unit, which may be cut off.
func (c *cluster) ask(f func() error, then func(error)) {
	c.w.store.do(func() error {
		if c.cut {
			return errDown
		}
		return f()
	}, then)
}

// edit changes the table.
func (s *store) edit(f func(*msha.Table) (*msha.Table, error), then func(*msha.Table, error)) {
	var out *msha.Table
	s.do(func() error {
		t, err := f(s.table)
		if err != nil {
			return err
		}
		out = t
		if t.Version != s.table.Version {
			s.table = t
			s.w.trace("metastore", "table", msha.Origin{}, describe(t))
			s.w.tables = append(s.w.tables, t)
			s.publish()
		}
		return nil
	}, func(err error) { then(out, err) })
}

// publish delivers the table to every watch, each in its own time.
func (s *store) publish() {
	for _, c := range s.w.clusters {
		for _, a := range c.agents {
			if a.alive() {
				s.deliver(a)
			}
		}
	}
}

// deliver sends the table to one watch. A frozen process's watch is broken; it is told again after the thaw.
func (s *store) deliver(a *agent) {
	t := s.table
	s.w.after(s.w.mostly(5, 300, 0.15, 500, 4000), func() {
		if !s.down && !a.frozen && !a.c.cut {
			a.on(func() { a.tableArrived(t) })
		}
	})
}

// outage takes the metastore down for a while; afterwards every watch gets the newest table.
func (s *store) outage(d int64) {
	if s.down {
		return
	}
	s.down = true
	s.w.trace("metastore", "down", msha.Origin{}, "")
	s.w.after(d, func() {
		s.down = false
		s.w.trace("metastore", "up", msha.Origin{}, "")
		s.publish()
		for _, c := range s.w.clusters {
			s.tell(c.unit)
		}
	})
}
