package main

import (
	"context"
	"fmt"
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

// play returns how long the switch and the switch back took.
func (d *demo) play(ctx context.Context) (there, back time.Duration, err error) {
	if err := d.closedLoop(ctx, "1. each unit processes its own"); err != nil {
		return 0, 0, err
	}
	d.say("2. unit-2's carrier fails: %d messages wait for their retry, %d more arrive", retrying, unprocessed)
	failedAt := time.Now()
	before, err := d.breakDown(ctx)
	if err != nil {
		return 0, 0, err
	}
	manager := d.fleet.find("manager", "")
	there, answer, err := manager.switchTo(ctx, "values=guangzhou")
	if err != nil {
		return 0, 0, err
	}
	d.say("3. GET /switch?values=guangzhou answered after %d ms (task %s)", there.Milliseconds(), answer.Task)
	err = d.await(ctx, "taken over by unit-1", retrying+unprocessed, func(e Entries) int { return e.Count().Processed - before })
	if err != nil {
		return 0, 0, err
	}
	d.say("4. unit-2 still produces guangzhou, unit-1 processes it")
	if err := d.sendAndWait(ctx, "unit-2", "guangzhou", produced); err != nil {
		return 0, 0, err
	}
	if err := d.repair(ctx); err != nil {
		return 0, 0, err
	}
	back, answer, err = manager.switchTo(ctx, "values=guangzhou")
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

// breakDown makes unit-2's carrier fail until its channel gives up, and lets a backlog grow. It returns how many messages had been
// processed by then.
func (d *demo) breakDown(ctx context.Context) (processed int, err error) {
	if err := d.fleet.find("channel", "unit-2").setCarrier(ctx, "unit-2", true); err != nil {
		return 0, err
	}
	if err := d.send(ctx, "unit-2", "guangzhou", retrying); err != nil {
		return 0, err
	}
	if err := d.await(ctx, "failed deliveries", retrying, func(e Entries) int { return e.Refused["unit-2"] }); err != nil {
		return 0, err
	}
	if err := d.send(ctx, "unit-2", "guangzhou", unprocessed); err != nil {
		return 0, err
	}
	all, err := d.fleet.journal()
	return all.Count().Processed, err
}

func (d *demo) repair(ctx context.Context) error {
	channel := d.fleet.find("channel", "unit-2")
	if err := channel.setCarrier(ctx, "unit-2", false); err != nil {
		return err
	}
	return channel.repair(ctx, "unit-2")
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
	mtr := d.fleet.find("mtr", unit)
	for range n {
		d.sent++
		if err := mtr.send(ctx, unit, city, fmt.Sprintf("SMS %d to %s", d.sent, city)); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) sendAndWait(ctx context.Context, unit, city string, n int) error {
	all, err := d.fleet.journal()
	if err != nil {
		return err
	}
	before := all.Count().Processed
	if err := d.send(ctx, unit, city, n); err != nil {
		return err
	}
	return d.await(ctx, fmt.Sprintf("%s sent by %s", city, unit), n, func(e Entries) int { return e.Count().Processed - before })
}

// await shows progress until the journals have what is wanted.
func (d *demo) await(ctx context.Context, what string, want int, have func(Entries) int) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	shown := time.Now()
	for {
		all, err := d.fleet.journal()
		if err != nil {
			return err
		}
		n := have(all)
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
			return fmt.Errorf("%d of %d %s: %w; missing ids: %v", n, want, what, ctx.Err(), all.Missing())
		}
	}
}
