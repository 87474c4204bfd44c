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

// applyTable makes a table the one that decides; the lock is held.
func (e *Engine) applyTable(t *msha.Table) {
	e.table = t
	e.tracker.SetTable(t)
	e.unpark()
}

// followTable applies newer tables until the engine ends.
func (e *Engine) followTable() {
	for e.ctx.Err() == nil {
		e.mu.Lock()
		old := e.table
		e.mu.Unlock()
		select {
		case <-e.cfg.Router.Changed(old.Version):
		case <-e.ctx.Done():
			return
		}
		t := e.cfg.Router.Table()
		e.mu.Lock()
		e.applyTable(t)
		e.mu.Unlock()
		for {
			err := e.react(old, t)
			if err == nil || e.ctx.Err() != nil || errors.Is(err, errNewer) {
				break
			}
			e.cfg.Logger.Warn("routing table not acknowledged, trying again", "version", t.Version, "error", err)
			e.pause(retryInterval)
		}
	}
}

var errNewer = errors.New("a newer table is there")

// react does what a new table asks for: fence first (what runs ends, facts are published, Ack), then catch up and re-scan.
func (e *Engine) react(old, t *msha.Table) error {
	gained := e.announce(old, t)
	newer := e.cfg.Router.Changed(t.Version)
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	go func() {
		select {
		case <-newer:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := e.await(ctx, e.tracker.Drained); err != nil {
		return e.unlessNewer(err)
	}
	if err := e.publish(ctx); err != nil {
		return e.unlessNewer(err)
	}
	ack := filter.Record{Kind: filter.Ack, Group: e.set.group, Client: e.cfg.ClientID, Writer: e.writer, Version: t.Version}
	brokers, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return e.unlessNewer(err)
	}
	for _, broker := range slices.Sorted(maps.Keys(brokers)) {
		if err := e.appendLog(ctx, broker, ack); err != nil {
			return e.unlessNewer(err)
		}
	}
	if err := e.catchUp(ctx); err != nil {
		return e.unlessNewer(err)
	}
	for _, task := range gained {
		e.cfg.Logger.Info(fmt.Sprintf("Complete process MSHA route switch: task=%s", task))
	}
	e.poke(e.scan)
	return nil
}

func (e *Engine) unlessNewer(err error) error {
	if e.ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return errNewer
	}
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
