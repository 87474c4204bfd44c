package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/route"
)

const (
	before = 20               // messages of each city before the switch, and after it
	settle = time.Second      // nothing may change for so long in the end: a repeat would come within it
	limit  = 60 * time.Second // for anything to come about
)

// story is one run: the parts, and what clients were told.
type story struct {
	config  config
	units   map[string]*unit
	store   *memory.Store
	manager *manager.Manager

	mu   sync.Mutex
	out  io.Writer
	sent []string // keys of accepted requests
}

// play starts everything, switches, counts and returns the exit status. An error is something that must not happen.
func play(ctx context.Context, c config, out, stderr io.Writer) (ended int, err error) {
	log := slog.New(slog.DiscardHandler)
	if c.log {
		log = slog.New(slog.NewTextHandler(stderr, nil))
	}
	s := &story{config: c, units: map[string]*unit{}, store: memory.New(), out: out}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		err = errors.Join(err, s.close(clean))
	}()
	if err := s.start(ctx, log); err != nil {
		return broken, err
	}
	s.say("1. each unit processes its own: beijing in unit-1, guangzhou in unit-2")
	if err := s.requests(ctx, before, "beijing", "guangzhou"); err != nil {
		return broken, err
	}
	if err := s.settled(ctx, len(s.accepted())); err != nil {
		return broken, err
	}
	if err := s.dryRun(ctx); err != nil {
		return broken, err
	}
	s.say("3. guangzhou moves to unit-1 while requests go on")
	ended, err = s.move(ctx)
	if err != nil {
		return broken, err
	}
	s.say("4. requests go on")
	if err := s.requests(ctx, before, "beijing", "guangzhou"); err != nil {
		return broken, err
	}
	return ended, s.verdict(ctx, ended)
}

func (s *story) start(ctx context.Context, log *slog.Logger) error {
	units := &msha.Units{}
	for _, name := range []string{"unit-1", "unit-2"} {
		u, err := startCluster(name)
		if err != nil {
			return err
		}
		s.units[name] = u
		units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: []string{u.cluster.NameServer()}, State: "live"})
	}
	table, err := route.New(units.Names(), map[string][]string{"unit-1": {"beijing"}, "unit-2": {"guangzhou"}})
	if err == nil {
		err = route.Init(ctx, s.store, table, units)
	}
	for _, u := range s.units {
		if err == nil {
			err = u.start(ctx, s.store, log)
		}
	}
	if err != nil {
		return err
	}
	s.units["unit-2"].database.busy = 1 // the first attempt to freeze it finds an open transaction
	steps, after := s.steps()
	s.manager, err = manager.New(ctx, s.store, &manager.Options{Steps: steps, After: after, Logger: log})
	return err
}

// dryRun shows what the switch would do.
func (s *story) dryRun(ctx context.Context) error {
	s.say("2. dry run")
	forecast, err := s.manager.DryRun(ctx, msha.SwitchRequest{Values: []string{"guangzhou"}})
	if err != nil {
		return err
	}
	m := forecast.Moves[0]
	s.say("   ready: %t; moves %v from %s to %s; %d process acknowledges", forecast.Ready, m.Values, m.From, m.To, len(forecast.Confirm))
	for _, g := range m.Groups {
		s.say("   group %s: %d processes in %s take over at most %d messages", g.Group, g.Agents, m.To, g.Pending+g.Retrying+g.Backlog)
	}
	s.say("   steps: %v", forecast.Steps)
	return nil
}

// move switches while clients send requests.
func (s *story) move(ctx context.Context) (ended int, err error) {
	events, cancel := s.manager.Events(256)
	var following, sending sync.WaitGroup
	following.Go(func() { s.follow(ctx, events) })
	busy, stop := context.WithCancel(ctx)
	var failed error
	sending.Go(func() {
		for busy.Err() == nil && failed == nil {
			failed = s.requests(ctx, 1, "guangzhou", "beijing")
		}
	})
	report, err := s.manager.Switch(ctx, msha.SwitchRequest{Values: []string{"guangzhou"}, By: "the night shift"})
	stop()
	sending.Wait()
	cancel()
	following.Wait()
	s.say("   %s", report)
	if ended = status(err); ended == broken {
		return ended, errors.Join(err, failed)
	}
	return ended, failed
}

// requests come to the gateway of the unit that owns the city; a client that is refused goes to the other one.
func (s *story) requests(ctx context.Context, n int, cities ...string) error {
	for range n {
		for _, city := range cities {
			first, second := s.units["unit-1"], s.units["unit-2"]
			if city == "guangzhou" {
				first, second = second, first
			}
			s.mu.Lock()
			key := fmt.Sprintf("%s-%d", city, len(s.sent))
			s.mu.Unlock()
			err := first.gateway.accept(city, key)
			if errors.Is(err, errDraining) {
				err = second.gateway.accept(city, key)
			}
			if err != nil {
				return err
			}
			s.mu.Lock()
			s.sent = append(s.sent, key)
			s.mu.Unlock()
		}
	}
	return ctx.Err()
}

func (s *story) accepted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.sent...)
}

func (s *story) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *story) close(ctx context.Context) error {
	var all error
	if s.manager != nil {
		all = s.manager.Close()
	}
	for _, u := range s.units {
		all = errors.Join(all, u.close(ctx))
	}
	return errors.Join(all, s.store.Close())
}
