package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"
)

// Sizes of the demo's steps.
const (
	closedLoop  = 10  // messages each unit sends before and after the switch
	retrying    = 5   // messages that wait for their retry when the value moves
	unprocessed = 100 // messages nobody has looked at when the value moves
	produced    = 6   // messages the losing unit still produces afterwards
)

const stepTimeout = 60 * time.Second

// retryDelay is RocketMQ's first delay level of a consumer retry: after it the old copies of what was taken over come due and
// have to be refused.
const retryDelay = 10 * time.Second

type demo struct {
	g    *gateway
	out  io.Writer
	sent int
}

// runDemo plays the whole story on two clusters of its own and fails unless nothing was lost and nothing repeated.
func runDemo(ctx context.Context, c config, out io.Writer) error {
	log, path, closeLog, err := demoLog(c)
	if err != nil {
		return err
	}
	defer closeLog()
	kind := "embedded clusters"
	if c.real {
		kind = "real RocketMQ 5.4.0 clusters (the first run fetches the server)"
	}
	fmt.Fprintf(out, "starting two %s; full log: %s\n", kind, path)
	c.units, c.listen = "", "127.0.0.1:0"
	for _, name := range []string{"unit-1", "unit-2"} {
		cl, stop, err := startCluster(ctx, c.real, name)
		if err != nil {
			return err
		}
		defer stop()
		if c.units != "" {
			c.units += ","
		}
		c.units += name + "=" + cl.NameServer()
	}
	g, err := startGateway(ctx, c, log)
	if err != nil {
		return err
	}
	d := &demo{g: g, out: out}
	there, back, err := d.play(ctx)
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := errors.Join(err, g.close(closeCtx)); err != nil {
		return fmt.Errorf("%w (full log: %s)", err, path)
	}
	return d.verdict(there, back)
}

// demoLog is the structured log of all parts: in a file, on the screen too with -v.
func demoLog(c config) (*slog.Logger, string, func(), error) {
	var f *os.File
	var err error
	if c.logFile == "" {
		f, err = os.CreateTemp("", "smsgateway-*.log")
	} else {
		f, err = os.Create(c.logFile)
	}
	if err != nil {
		return nil, "", nil, err
	}
	var w io.Writer = f
	if c.verbose {
		w = io.MultiWriter(f, os.Stderr)
	}
	return slog.New(slog.NewTextHandler(w, nil)), f.Name(), func() { f.Close() }, nil //nolint:errcheck // a log
}

func (d *demo) play(ctx context.Context) (there, back time.Duration, err error) {
	two := d.g.units["unit-2"]
	if err := d.closedLoop(ctx, "1. each unit processes its own"); err != nil {
		return 0, 0, err
	}
	d.say("2. unit-2's carrier fails: %d messages wait for their retry, %d more arrive", retrying, unprocessed)
	two.channel.Carrier.SetDown(true)
	failedAt := time.Now()
	if err := d.send(ctx, "unit-2", "guangzhou", retrying); err != nil {
		return 0, 0, err
	}
	err = d.await(ctx, "failed deliveries", retrying, func() int { return int(two.channel.Failures()) })
	if err != nil {
		return 0, 0, err
	}
	if err := d.send(ctx, "unit-2", "guangzhou", unprocessed); err != nil {
		return 0, 0, err
	}
	before := d.g.journal.Count().Processed
	there, answer, err := d.g.switchTo(ctx, "values=guangzhou")
	if err != nil {
		return 0, 0, err
	}
	d.say("3. GET /switch?values=guangzhou answered after %d ms (task %s)", there.Milliseconds(), answer.Task)
	err = d.await(ctx, "taken over by unit-1", retrying+unprocessed, func() int { return d.g.journal.Count().Processed - before })
	if err != nil {
		return 0, 0, err
	}
	d.say("4. unit-2 still produces guangzhou, unit-1 processes it")
	if err := d.sendAndWait(ctx, "unit-2", "guangzhou", produced); err != nil {
		return 0, 0, err
	}
	two.channel.Carrier.SetDown(false)
	two.channel.Repair()
	back, answer, err = d.g.switchTo(ctx, "values=guangzhou")
	if err != nil {
		return 0, 0, err
	}
	d.say("5. carrier repaired; GET /switch?values=guangzhou moved it back after %d ms (task %s)", back.Milliseconds(), answer.Task)
	if err := d.closedLoop(ctx, "6. each unit processes its own again"); err != nil {
		return 0, 0, err
	}
	return there, back, d.oldRetries(ctx, failedAt)
}

func (d *demo) closedLoop(ctx context.Context, title string) error {
	d.say("%s", title)
	if err := d.sendAndWait(ctx, "unit-1", "beijing", closedLoop); err != nil {
		return err
	}
	return d.sendAndWait(ctx, "unit-2", "guangzhou", closedLoop)
}

// oldRetries waits until the retry copies of the messages that moved have come due in unit-2: processing one would be a repeat.
func (d *demo) oldRetries(ctx context.Context, failedAt time.Time) error {
	d.say("7. waiting for unit-2's old retry copies to come due and be refused")
	select {
	case <-time.After(time.Until(failedAt.Add(retryDelay + 2*time.Second))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *demo) send(ctx context.Context, unit, city string, n int) error {
	for range n {
		d.sent++
		if _, err := d.g.units[unit].mtr.Send(ctx, city, fmt.Sprintf("SMS %d to %s", d.sent, city)); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) sendAndWait(ctx context.Context, unit, city string, n int) error {
	before := d.g.journal.Count().Processed
	if err := d.send(ctx, unit, city, n); err != nil {
		return err
	}
	return d.await(ctx, fmt.Sprintf("%s sent by %s", city, unit), n, func() int { return d.g.journal.Count().Processed - before })
}

// await shows progress until have reaches want.
func (d *demo) await(ctx context.Context, what string, want int, have func() int) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	shown := time.Now()
	for {
		n := have()
		if n >= want {
			d.say("   %d/%d %s", n, want, what)
			return nil
		}
		if time.Since(shown) > time.Second {
			shown = time.Now()
			d.say("   %d/%d %s …", n, want, what)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d %s: %w; missing ids: %v", n, want, what, ctx.Err(), d.g.journal.Missing())
		}
	}
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// verdict prints what MTR's and the carriers' journals say.
func (d *demo) verdict(there, back time.Duration) error {
	c := d.g.journal.Count()
	d.say("\n%-14s %22s %22s", "", "processed in unit-1", "processed in unit-2")
	for _, from := range []string{"unit-1", "unit-2"} {
		d.say("%-14s %22d %22d", "from "+from, c.By[[2]string{from, "unit-1"}], c.By[[2]string{from, "unit-2"}])
	}
	d.say("\ndemo: %d sent, %d processed, %d lost, %d repeated; switch %d ms, back %d ms",
		c.Sent, c.Processed, c.Lost, c.Repeated, there.Milliseconds(), back.Milliseconds())
	if c.Lost != 0 || c.Repeated != 0 || c.Sent != d.sent {
		return fmt.Errorf("%d lost, %d repeated, %d of %d sends recorded", c.Lost, c.Repeated, c.Sent, d.sent)
	}
	return nil
}
