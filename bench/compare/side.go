package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2"

	"github.com/go-msha/msha/internal/remoting"
)

// side is one of those that are compared.
type side interface {
	name() string  // of topics, groups and folders
	title() string // in the table
	library() bool
	channel() string // the program of consumers
	copier() string  // the program that copies what its unit produces

	// prepare writes the first documents and starts what does not run as a process.
	prepare(ctx context.Context, w *world) error
	// producer of a unit, started.
	producer(w *world, unit string) (rocketmq.Producer, error)
	// move lets another unit own a city, and returns when the operator is told that this is done.
	move(ctx context.Context, w *world, city, to string) error
	// force lets another unit own the cities of one that is dead.
	force(ctx context.Context, w *world, cities []string, to string) error
	// behind counts what is not copied or not acknowledged yet.
	behind(ctx context.Context, w *world) (int64, error)
}

// loopSide is the hand-written loop.
type loopSide struct {
	replay time.Duration // how far back the new owner reads after a switch; 0: it does not
}

func (s loopSide) name() string {
	if s.replay > 0 {
		return "replay"
	}
	return "loop"
}

func (s loopSide) title() string {
	if s.replay > 0 {
		return fmt.Sprintf("loop + replay %.0f s", s.replay.Seconds())
	}
	return "loop"
}

func (s loopSide) library() bool { return false }

func (s loopSide) channel() string { return "loop.channel" }

func (s loopSide) copier() string { return "loop.copier" }

func (s loopSide) prepare(ctx context.Context, w *world) error {
	for _, group := range []string{w.group(), w.copierGroup()} {
		if err := w.servers.CreateTopic(ctx, retryTopic(group), 1); err != nil {
			return err
		}
	}
	t := loopTable{}
	for city, unit := range home {
		t[city] = loopRoute{Owner: unit}
	}
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = w.store.Put(ctx, loopTableKey, value, 0)
	return err
}

func (s loopSide) producer(w *world, unit string) (rocketmq.Producer, error) {
	return loopProducer(w.servers.NameServers[unit], w.side.name()+"-"+unit)
}

func (s loopSide) move(ctx context.Context, w *world, city, to string) error {
	begun := time.Now()
	route := loopRoute{Owner: to, Held: true}
	if err := changeLoopTable(ctx, w.store, city, route); err != nil {
		return err
	}
	if s.replay > 0 {
		replay, err := s.replayed(ctx, w, city, to, begun)
		if err != nil {
			return err
		}
		route.Replay = replay
	}
	if err := pause(ctx, time.Until(begun.Add(grace))); err != nil {
		return err
	}
	route.Held = false
	return changeLoopTable(ctx, w.store, city, route)
}

// force has nobody to wait for.
func (s loopSide) force(ctx context.Context, w *world, cities []string, to string) error {
	for _, city := range cities {
		route := loopRoute{Owner: to}
		if s.replay > 0 {
			replay, err := s.replayed(ctx, w, city, to, time.Now())
			if err != nil {
				return err
			}
			route.Replay = replay
		}
		if err := changeLoopTable(ctx, w.store, city, route); err != nil {
			return err
		}
	}
	return nil
}

// replayed is a replay of what a city's new owner has skipped in the last seconds before the move began.
func (s loopSide) replayed(ctx context.Context, w *world, city, to string, begun time.Time) (*loopReplay, error) {
	replay := &loopReplay{Group: fmt.Sprintf("%s-replay-%s-%d", w.group(), city, len(w.evidence.moves)), Until: time.Now().Add(overlap)}
	return replay, resetByTime(ctx, w, to, replay.Group, begun.Add(-s.replay))
}

// resetByTime is what `mqadmin resetOffsetByTime` does, for a group that does not run yet.
func resetByTime(ctx context.Context, w *world, unit, group string, at time.Time) error {
	c := w.servers.ByUnit[unit]
	brokers, err := c.Brokers(ctx)
	if err != nil {
		return err
	}
	for _, addr := range brokers {
		if err := c.CreateGroup(ctx, addr, remoting.GroupConfig{Name: group}); err != nil {
			return err
		}
	}
	return w.servers.eachQueue(ctx, unit, w.topic(), func(q remoting.Queue, _ int64) error {
		offset, err := c.OffsetByTime(ctx, q, at)
		if err != nil {
			return err
		}
		return c.Commit(ctx, group, q, offset)
	})
}

func (s loopSide) behind(ctx context.Context, w *world) (int64, error) {
	return w.lags(ctx, func(string) []lagOf {
		return []lagOf{{w.topic(), w.group()}, {retryTopic(w.group()), w.group()}, {w.topic(), w.copierGroup()}, {retryTopic(w.copierGroup()), w.copierGroup()}}
	})
}

type lagOf struct{ topic, group string }

// lags adds up what groups have not acknowledged, in both units.
func (w *world) lags(ctx context.Context, of func(unit string) []lagOf) (sum int64, all error) {
	for unit := range w.servers.NameServers {
		for _, l := range of(unit) {
			n, err := w.servers.lag(ctx, unit, l.topic, l.group)
			sum, all = sum+n, errors.Join(all, err)
		}
	}
	return sum, all
}
