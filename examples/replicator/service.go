package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/go-msha/msha/metastore/open"
	"github.com/go-msha/msha/replicate"
)

// openTimeout is how long a start waits for the metastore; the system that starts programs tries again.
const openTimeout = 20 * time.Second

// runService copies until ctx ends, then finishes what is in flight and hands its work over.
func runService(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error {
	c, err := parseConfig("replicator", args, settingsOf(place, copying, serving), noFlags, getenv, stderr)
	if err != nil {
		return err
	}
	screen := newScreen(stderr)
	defer screen.clear()
	log := c.logger(screen)
	r, closeStore, err := openReplicator(ctx, c, log)
	if err != nil {
		return err
	}
	defer closeStore()
	s := newService(c, r, log)
	if err := s.listen(); err != nil {
		return err
	}
	defer s.close()
	return s.run(ctx, screen)
}

// openReplicator opens the metastore and makes a replicator that does not run yet.
func openReplicator(ctx context.Context, c config, log *slog.Logger) (*replicate.Replicator, func(), error) {
	o, err := c.options(log)
	if err != nil {
		return nil, nil, err
	}
	store, err := openStore(ctx, c, log)
	if err != nil {
		return nil, nil, err
	}
	closeStore := func() {
		if err := store.Close(); err != nil {
			log.Debug("metastore not closed", "error", err)
		}
	}
	r, err := replicate.New(c.unit, store, o)
	if err != nil {
		closeStore()
		return nil, nil, err
	}
	return r, closeStore, nil
}

func openStore(ctx context.Context, c config, log *slog.Logger) (open.Store, error) {
	waiting, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	store, err := open.Open(waiting, c.store, &open.Options{Namespace: c.namespace, Logger: log})
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("the metastore of -store did not answer within %v: does it run, and is the address right? %w", openTimeout, err)
	}
	return store, err
}

// service is a replicator with what shows how it fares.
type service struct {
	c        config
	r        *replicate.Replicator
	log      *slog.Logger
	started  time.Time
	observer *observer
	http     *server // nil: none
}

func newService(c config, r *replicate.Replicator, log *slog.Logger) *service {
	return &service{c: c, r: r, log: log, started: time.Now(), observer: newObserver(r, log)}
}

// run copies until ctx ends, and drains.
func (s *service) run(ctx context.Context, screen *screen) error {
	s.log.Info("replicator started", "unit", s.c.unit, "topics", s.c.topics, "targets", s.c.targets)
	var wg sync.WaitGroup
	defer wg.Wait()
	showing, stop := context.WithCancel(context.WithoutCancel(ctx)) // also while it drains
	defer stop()
	wg.Go(func() { s.observer.run(showing) })
	wg.Go(func() { s.report(showing, screen) })
	go func() {
		<-ctx.Done()
		s.log.Info("stopping: what is in flight is finished")
	}()
	err := s.r.Run(ctx)
	if err == nil {
		st := s.r.Stats()
		s.log.Info("replicator stopped", "unit", s.c.unit, "copied", st.Copied, "bytes", st.Bytes, "ran", time.Since(s.started).Round(time.Second))
	}
	return err
}

func settingsOf(groups ...[]setting) (all []setting) {
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// noFlags is for commands without flags of their own.
func noFlags(*flag.FlagSet) {}
