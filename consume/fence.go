package consume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
)

// applyTable makes a table the one that decides, unless a newer one does already; the lock is held.
func (e *Engine) applyTable(t *msha.Table) {
	if e.table != nil && t.Version <= e.table.Version {
		return
	}
	e.table = t
	if e.tracker.SetTable(t) {
		e.unsettleAll()
	}
	e.unpark()
	e.broadcast()
}

func (e *Engine) currentTable() *msha.Table {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.table
}

// watchTable applies newer tables until the engine ends.
func (e *Engine) watchTable() {
	for {
		select {
		case <-e.cfg.Router.Changed(e.currentTable().Version):
		case <-e.ctx.Done():
			return
		}
		e.mu.Lock()
		e.applyTable(e.cfg.Router.Table())
		e.mu.Unlock()
	}
}

// followTable does what each table asks for, until the engine ends.
func (e *Engine) followTable() {
	last, begun := &msha.Table{}, 0
	var committed []string // switches whose end is to be reported
	for {
		t := last
		if err := e.await(e.ctx, func() bool {
			news := e.table.Version > last.Version || e.begun > begun
			t, begun = e.table, e.begun
			return news
		}); err != nil {
			return
		}
		committed = append(committed, e.announce(last, t)...)
		last = t
		if err := e.reactUntil(t); err != nil {
			continue // the engine ends, or the newer table is next
		}
		for _, task := range committed {
			e.cfg.Logger.Info(fmt.Sprintf("Complete process MSHA route switch: task=%s", task))
		}
		committed = nil
	}
}

// reactUntil repeats react until it succeeds, a newer table is there or the engine ends.
func (e *Engine) reactUntil(t *msha.Table) error {
	for backoff := retryInterval; ; backoff = min(2*backoff, lastBackoff) {
		err := e.react(t)
		if err == nil || e.ctx.Err() != nil || errors.Is(err, errNewer) {
			return err
		}
		e.cfg.Logger.Warn("routing table not acknowledged, trying again", "version", t.Version, "error", err)
		pause(e.ctx, backoff)
	}
}

var errNewer = errors.New("a newer table is there, or all is read anew")

// react brings the engine to where the table wants it: what it no longer lets start has ended, facts are published, the version is
// acknowledged; then the log is read up to the acknowledgement and what the table gives is looked for.
func (e *Engine) react(t *msha.Table) error {
	newer, begun := false, 0
	err := e.await(e.ctx, func() bool {
		newer, begun = e.table.Version > t.Version, e.begun
		return newer || e.tracker.Drained()
	})
	if err != nil {
		return err
	}
	if newer {
		return errNewer
	}
	ends, err := e.acknowledge(e.ctx, t.Version)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(e.ctx, e.limits.call) // a broker may go away now
	defer cancel()
	if err := e.readTo(ctx, ends); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.begun > begun {
		return errNewer
	}
	e.tracker.CaughtUp(t.Version)
	e.unpark()
	e.scanAll()
	return nil
}

// acknowledge publishes facts, and appends Ack to the log of every broker; it returns the ends of the logs as they were afterwards. A broker that is
// not registered gets its Ack when it comes back, with the facts that come before it: it keeps nobody from going on at the others.
func (e *Engine) acknowledge(ctx context.Context, version uint64) (ends map[string]int64, err error) {
	brokers, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(brokers))
	if failed := e.publish(ctx, names); len(failed) > 0 {
		return nil, errors.Join(slices.Collect(maps.Values(failed))...)
	}
	ends = map[string]int64{}
	ack := filter.Record{Kind: filter.Ack, Group: e.set.group, Client: e.cfg.ClientID, Writer: e.writer, Version: version}
	for _, broker := range names {
		end, err := e.appendLog(ctx, broker, ack)
		if err != nil {
			return nil, err
		}
		ends[broker] = end
		e.mu.Lock()
		e.acked[broker] = max(e.acked[broker], version)
		e.lastAck = max(e.lastAck, version)
		e.mu.Unlock()
	}
	return ends, nil
}

// acknowledgeReturned repeats the last Ack for brokers that were away when it was written, or have lost it.
func (e *Engine) acknowledgeReturned(ctx context.Context) error {
	brokers, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	version := e.lastAck
	missing := false
	for broker := range brokers {
		missing = missing || e.acked[broker] < version
	}
	e.mu.Unlock()
	if !missing {
		return nil
	}
	_, err = e.acknowledge(ctx, version)
	return err
}

// announce writes the published log lines for the switches that concern this unit and returns those whose routes changed hands.
func (e *Engine) announce(old, t *msha.Table) (committed []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	phases := map[string]int{}
	for id, s := range t.Sets {
		before, existed := old.Sets[id]
		if s.State == msha.SetFenced && (!existed || before.State != msha.SetFenced) {
			e.tasks[id] = s.Switch
			phases[s.Switch] = 2
		}
		if task := e.tasks[id]; task != "" && s.State == msha.SetOpen {
			delete(e.tasks, id)
			if existed && s.Term > before.Term {
				phases[task] = 7
			}
		}
	}
	for _, task := range slices.Sorted(maps.Keys(phases)) {
		e.cfg.Logger.Info(fmt.Sprintf("Process MSHA route switch: task=%s, phase=%d", task, phases[task]))
		if phases[task] == 7 {
			committed = append(committed, task)
		}
	}
	return committed
}
