//go:build real

package chaos

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-msha/msha/internal/netproxy"
)

// perform does one action and brings back what it took away. It blocks for all of that. What another action has not brought back yet is
// waited for; once nothing is sent any more, it is too late.
func (w *world) perform(a Action) {
	parts := Parts(w.names, *second, a.Kind, a.Target)
	for _, part := range parts { // sorted: two actions never wait for each other
		held, _ := w.parts.LoadOrStore(part, &sync.Mutex{})
		lock := held.(*sync.Mutex)
		lock.Lock()
		defer lock.Unlock()
	}
	if w.over() {
		return
	}
	f, err := w.strike(a)
	f.Kind = a.Kind
	w.noteFault(f)
	if err != nil {
		w.fail("%s %s: %v", a.Kind, a.Target, err)
	}
}

func (w *world) strike(a Action) (Fault, error) {
	switch a.Kind {
	case KillAgent, KillReplicator, KillManager:
		p := w.processes[a.Target]
		f := p.kill()
		pause(w.ctx, a.For)
		err := p.start()
		if err == nil {
			err = p.serves(w.ctx)
		}
		f.Until = time.Now()
		return f, err
	case FreezeAgent, FreezeReplicator, FreezeManager:
		p := w.processes[a.Target]
		f, err := p.freeze()
		if err == nil {
			pause(w.ctx, a.For)
			err = p.thaw()
		}
		f.Until = time.Now()
		return f, err
	case KillBroker:
		c := w.sites[unitOfBroker(a.Target)]
		return w.outage(a, func() error { return c.Kill(a.Target) }, func() error { return c.Restart(w.ctx, a.Target) })
	case KillNameServer:
		s := w.servers[strings.TrimPrefix(a.Target, serverPrefix)]
		return w.outage(a, func() error { return s.kill(w.ctx) }, func() error { return s.restart(w.ctx) })
	case KillStore:
		return w.outage(a, func() error { w.etcd.Kill(); return nil }, func() error { return w.etcd.Restart(w.ctx) })
	case KillSite:
		return w.loseSite(a)
	case Partition: // what is on its way arrives late, or never
		return w.outage(a, func() error { w.between(a.Target, (*netproxy.Proxy).Blackhole); return nil }, func() error {
			w.between(a.Target, (*netproxy.Proxy).Cut)
			w.between(a.Target, (*netproxy.Proxy).Heal)
			return nil
		})
	case Delay:
		return w.outage(a, func() error { w.between(a.Target, slow); return nil }, func() error { w.between(a.Target, fast); return nil })
	}
	return Fault{}, fmt.Errorf("unknown kind of fault")
}

func (w *world) outage(a Action, down, up func() error) (Fault, error) {
	f := Fault{Target: a.Target, From: time.Now()}
	err := down()
	f.Gone = time.Now()
	if err == nil {
		pause(w.ctx, a.For)
		err = up()
	}
	f.Until = time.Now()
	return f, err
}

// between does something to both ways between two units.
func (w *world) between(pair string, do func(*netproxy.Proxy)) {
	a, b, _ := strings.Cut(pair, " ")
	w.ways[[2]string{a, b}].each(do)
	w.ways[[2]string{b, a}].each(do)
}

// after waits until a moment of the schedule; false if ctx ends first.
func after(ctx context.Context, begun time.Time, at time.Duration) bool {
	pause(ctx, time.Until(begun.Add(at)))
	return ctx.Err() == nil
}
