package main

import (
	"context"
	"fmt"
	"time"

	"github.com/go-msha/msha/route"
)

// processed counts by key how often a message is in the databases.
func (s *story) processed() map[string]int {
	rows := map[string]int{}
	for _, u := range s.units {
		for _, row := range u.database.all() {
			rows[row]++
		}
	}
	return rows
}

// settled waits until so many different messages are in the databases.
func (s *story) settled(ctx context.Context, want int) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for len(s.processed()) < want {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d messages processed: %w", len(s.processed()), want, ctx.Err())
		}
	}
	return nil
}

// verdict fails unless each message was processed once, and unless gateways and databases are as the ending wants them.
func (s *story) verdict(ctx context.Context, ended int) error {
	if err := s.settled(ctx, len(s.accepted())); err != nil && ctx.Err() != nil {
		return err
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	sent, rows := s.accepted(), s.processed()
	lost, repeated := 0, 0
	for _, key := range sent {
		if rows[key] == 0 {
			lost++
		}
		repeated += max(rows[key]-1, 0)
	}
	in := map[string]int{}
	for name, u := range s.units {
		in[name] = len(u.database.all())
	}
	s.say("customplan: %d sent, %d processed (%d in unit-1, %d in unit-2), %d lost, %d repeated; %s",
		len(sent), len(rows), in["unit-1"], in["unit-2"], lost, repeated, ending(ended))
	if lost > 0 || repeated > 0 || len(rows) != len(sent) {
		return fmt.Errorf("%d lost, %d repeated, %d of %d processed", lost, repeated, len(rows), len(sent))
	}
	table, owner := "unit-2", s.units["unit-2"]
	if ended == moved || ended == movedBadly {
		table, owner = "unit-1", s.units["unit-1"]
	}
	if got, err := s.owner(ctx); err != nil || got != table {
		return fmt.Errorf("guangzhou belongs to %q, not %q: %w", got, table, err)
	}
	if owner.database.isFrozen() || s.units["unit-2"].database.isFrozen() != (ended == movedBadly) {
		return fmt.Errorf("a database was left frozen")
	}
	return nil
}

// owner is the unit that owns guangzhou.
func (s *story) owner(ctx context.Context) (string, error) {
	table, err := route.LoadFresh(ctx, s.store)
	if err != nil {
		return "", err
	}
	set, _ := table.Lookup("guangzhou", "")
	return set.Owner, nil
}
