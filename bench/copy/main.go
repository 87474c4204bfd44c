//go:build unix

// Command copy measures the replicator against the limits of the machine and against what a user would write with client-go, on two real
// RocketMQ clusters that it starts and stops. `make bench BENCH=copy` runs it.
//
// In each round every side copies, one after the other, the same messages of the origin:
//
//	pull        the origin's messages are pulled and let go, with the codec of the replicator
//	send        copies that were encoded before are sent in large batches
//	replicator  replicate.Replicator, from Resume to the last copy acknowledged
//	loop        a client-go push consumer sends what it was given, up to 32 messages, as one batch
//	single      a client-go push consumer sends message by message
//
// All share the machine, so a copy that costs nothing itself would run at p·s/(p+s): that is the limit.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// setting is what one row of the table is measured with.
type setting struct {
	size, queues int
	delay        time.Duration // added to a round trip between the replicator or loop and the target
	messages     int
	rounds       int
	sides        []string
}

func (s setting) String() string {
	return fmt.Sprintf("%d B, %d queues, %v", s.size, s.queues, s.delay)
}

var near, far = []string{"pull", "send", "replicator", "loop", "single"}, []string{"near", "replicator", "loop"}

func settings(quick bool, rounds int) []setting {
	if quick {
		return []setting{
			{500, 4, 0, 100_000, rounds, near},
			{4096, 64, 0, 48_000, max(rounds/4, 1), near},
			{500, 4, 100 * time.Millisecond, 200_000, max(rounds/4, 1), far},
		}
	}
	var all []setting
	for _, size := range []int{500, 4096} {
		n := 100_000
		if size > 500 {
			n = 48_000
		}
		for _, queues := range []int{4, 64} {
			all = append(all, setting{size, queues, 0, n, rounds, near})
			for _, delay := range []time.Duration{30 * time.Millisecond, 100 * time.Millisecond} {
				all = append(all, setting{size, queues, delay, 2 * n, max(rounds/3, 1), far})
			}
		}
	}
	return all
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rlog.SetLogLevel("fatal")
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	quick := flag.Bool("quick", false, "fewer settings, under four minutes")
	rounds := flag.Int("rounds", 10, "alternating rounds of a setting without delay")
	only := flag.String("only", "", "measure the settings that contain this, as they are printed")
	out := flag.String("out", "", "write the table to this file too")
	idle := flag.Int("latency", 300, "messages of the latency measurement; 0: none")
	pullCount := flag.Int("pullcount", 0, "raise the messages in one pull answer of the brokers; 0: RocketMQ's default")
	profile := flag.String("profile", "", "write a CPU profile of the replicator in the last round to this file")
	flag.Parse()
	if *profile != "" {
		profiled = func(run func() error) error {
			f, err := os.Create(*profile)
			if err != nil {
				return err
			}
			defer f.Close() //nolint:errcheck // pprof tells nothing
			if err := pprof.StartCPUProfile(f); err != nil {
				return err
			}
			defer pprof.StopCPUProfile()
			return run()
		}
	}
	var text strings.Builder
	report := io.MultiWriter(os.Stdout, &text)
	head(report)
	for _, s := range settings(*quick, *rounds) {
		if !strings.Contains(s.String(), *only) {
			continue
		}
		if err := measure(ctx, report, s, *pullCount); err != nil {
			return fmt.Errorf("%v: %w", s, err)
		}
	}
	if *idle > 0 {
		if err := latency(ctx, report, *idle); err != nil {
			return fmt.Errorf("latency: %w", err)
		}
	}
	if *out == "" {
		return nil
	}
	return os.WriteFile(*out, []byte(text.String()), 0o644)
}

// profiled wraps the replicator's rounds.
var profiled = func(run func() error) error { return run() }

// measure prints one row per side, and the ratios.
func measure(ctx context.Context, report io.Writer, s setting, pullCount int) error {
	s.messages -= s.messages % s.queues
	b, err := start(ctx, pullCount)
	if err != nil {
		return err
	}
	defer b.stop()
	if err := b.preload(ctx, s); err != nil {
		return err
	}
	results := map[string][]result{}
	for round := range s.rounds + 1 {
		for _, side := range s.sides {
			b.settle()
			r, err := b.side(ctx, side, s, round)
			if err != nil {
				return fmt.Errorf("%s: %w", side, err)
			}
			if round > 0 { // the first one warms up
				results[side] = append(results[side], r)
			}
		}
	}
	printSetting(report, s, results)
	return nil
}

func (b *bench) side(ctx context.Context, name string, s setting, round int) (result, error) {
	switch name {
	case "pull":
		return b.rawPull(ctx, s)
	case "send":
		return b.rawSend(ctx, s, round)
	case "near":
		s.delay = 0
		return b.replicator(ctx, s, fmt.Sprint("near-", round))
	case "replicator":
		return b.replicator(ctx, s, fmt.Sprint("copy-", round))
	case "loop":
		return b.loop(ctx, s, round, 32)
	}
	return b.loop(ctx, s, round, 1)
}
