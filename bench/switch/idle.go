//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"syscall"
	"time"

	"github.com/go-msha/msha/internal/spread"
)

const (
	idleTopic = "IDLE"
	idleGroup = "idle"
	perSecond = 10_000
	feed      = 100 // messages of a batch
	warm      = 1500 * time.Millisecond
	measured  = 4 * time.Second
	often     = 50 // publications a second of the third side
)

// sides differ in how often facts are published, and offsets with them.
var sides = []struct {
	name  string
	every time.Duration
}{{"never", time.Hour}, {"every second", time.Second}, {fmt.Sprintf("%d a second", often), time.Second / often}}

// cost is what one consumer took in a round.
type cost struct{ cpu, rate float64 } // microseconds a message, messages a second

// measureIdle lets one consumer work at a fixed rate with and without publishing, in turns.
func measureIdle(ctx context.Context, report io.Writer, w *world, p plan) (all count, err error) {
	if err := w.leave(); err != nil {
		return all, err
	}
	if err := w.clusters.CreateTopic(ctx, idleTopic, queues); err != nil {
		return all, err
	}
	costs := make([][]cost, len(sides))
	for round := range p.idle + 1 {
		for i := range sides {
			i = (i + round) % len(sides)
			c, n, err := w.idle(ctx, sides[i].every)
			if err != nil {
				return all, err
			}
			all.sent, all.lost, all.repeated, all.foreign = all.sent+n.sent, all.lost+n.lost, all.repeated+n.repeated, all.foreign+n.foreign
			if round > 0 { // the first one warms up
				costs[i] = append(costs[i], c)
			}
		}
	}
	reportIdle(report, costs)
	return all, nil
}

// idle is one round.
func (w *world) idle(ctx context.Context, every time.Duration) (c cost, n count, err error) {
	w.journal = newJournal()
	u, _, err := w.join(ctx, unit1, idleGroup, idleTopic, every)
	if err != nil {
		return c, n, err
	}
	feeding, stop := context.WithCancel(ctx)
	fed := make(chan error, 1)
	go func() { fed <- w.feed(feeding) }()
	if err = sleep(ctx, warm); err == nil {
		runtime.GC()
		cpu, done, begun := cpuTime(), u.Stats()[0].Succeeded, time.Now()
		err = sleep(ctx, measured)
		used, processed := cpuTime()-cpu, float64(u.Stats()[0].Succeeded-done)
		c = cost{float64(used.Microseconds()) / processed, processed / time.Since(begun).Seconds()}
	}
	stop()
	err = errors.Join(err, <-fed)
	if err == nil {
		err = w.await(ctx, span{0, w.journal.numbers(0).to})
	}
	err = errors.Join(err, u.Close(context.WithoutCancel(ctx)))
	return c, w.journal.count(), err
}

// feed sends at the fixed rate until ctx ends.
func (w *world) feed(ctx context.Context) error {
	begun := time.Now()
	for i := 0; sleep(ctx, time.Until(begun.Add(time.Duration(i)*time.Second*feed/perSecond))) == nil; i++ {
		if err := w.send(context.WithoutCancel(ctx), unit1, idleTopic, still[0], w.journal.numbers(feed)); err != nil {
			return err
		}
	}
	return nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportIdle(report io.Writer, costs [][]cost) {
	fmt.Fprintf(report, `
## What facts cost a group at %d messages a second

One consumer, %d rounds of %v in turns. CPU is this process's, the producer's batches and the counting handler included. With facts go the offsets that
rest on them, which every consumer has to commit now and then. Ratios are of the same round; the quartiles in parentheses.

| facts published | messages/s | CPU µs a message | of never |
|---|---|---|---|
`, perSecond, len(costs[0]), measured)
	for i, side := range sides {
		var cpu, rate, ratio []float64
		for round, c := range costs[i] {
			cpu, rate = append(cpu, c.cpu), append(rate, c.rate)
			ratio = append(ratio, c.cpu/costs[0][round].cpu)
		}
		fmt.Fprintf(report, "| %s | %.0f | %s | %s |\n", side.name, spread.Of(rate).Median, spread.Of(cpu).Format("%.2f"), spread.Of(ratio).Format("%.3f"))
		if i == len(sides)-1 {
			fmt.Fprintf(report, "\nFrom the last row: one publication a second costs %.2f %% of the CPU.\n", 100*(spread.Of(ratio).Median-1)/often)
		}
	}
}
