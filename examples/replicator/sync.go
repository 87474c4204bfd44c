package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"
)

// runSync waits until everything that the origin's topic holds now is copied to every target. It takes part in copying meanwhile, so it works
// whether other replicator processes of the unit run or not.
func runSync(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var topic string
	var timeout time.Duration
	c, err := parseConfig("replicator sync", args, settingsOf(place, copying), func(fs *flag.FlagSet) {
		fs.StringVar(&topic, "topic", "", "topic to wait for")
		fs.DurationVar(&timeout, "timeout", 0, "give up after this time; 0: never")
	}, getenv, stderr)
	if err != nil {
		return err
	}
	if topic == "" {
		return errors.New("the topic is missing: set -topic")
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not everything was copied within %v", timeout))
		defer cancel()
	}
	if !slices.Contains(c.topics, topic) {
		c.topics = []string{topic}
	}
	screen := newScreen(stderr)
	defer screen.clear()
	log := c.logger(screen)
	r, closeStore, err := openReplicator(ctx, c, log)
	if err != nil {
		return err
	}
	defer closeStore()
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ended := make(chan error, 1)
	go func() {
		err := r.Run(running)
		if err != nil {
			stop(err) // Sync would wait for it
		}
		ended <- err
	}()
	start := time.Now()
	err = r.Sync(running, topic)
	if cause := context.Cause(running); err != nil && cause != nil {
		err = cause
	}
	copied := r.Stats().Copied
	stop(nil)
	<-ended
	if err == nil {
		fmt.Fprintf(stdout, "sync: everything that %s of %s held is copied; %d messages by this process, %v\n", topic, c.unit, copied, time.Since(start).Round(time.Millisecond))
	}
	return err
}
