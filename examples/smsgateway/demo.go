package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// demo is one run of the whole story, seen from outside: what it knows, it knows by HTTP.
type demo struct {
	fleet *fleet
	out   io.Writer
	sent  int
}

// runDemo plays the story on two clusters of its own and fails unless nothing was lost and nothing repeated.
func runDemo(ctx context.Context, c config, out io.Writer) error {
	logs, err := openLogs(c)
	if err != nil {
		return err
	}
	defer logs.close()
	if err := (&demo{out: out}).run(ctx, c, logs); err != nil {
		return fmt.Errorf("%w (logs: %s)", err, logs.dir)
	}
	return nil
}

func (d *demo) run(ctx context.Context, c config, logs *logFolder) error {
	kind := "embedded clusters"
	if c.real {
		kind = "real RocketMQ 5.4.0 clusters (the first run fetches the server)"
	}
	d.say("starting two %s; logs: %s", kind, logs.dir)
	var units []string
	for _, name := range []string{"unit-1", "unit-2"} {
		cl, stop, err := startCluster(ctx, c.real, name)
		if err != nil {
			return err
		}
		defer stop()
		units = append(units, name+"="+cl.NameServer())
	}
	c.units, c.listen, c.controls = strings.Join(units, ","), "127.0.0.1:0", true

	given := storeKind(c.commander) != "memory"
	m, err := startMetastore(ctx, c)
	if err != nil {
		return err
	}
	defer m.stop()
	c.commander = m.commander
	d.say("metastore: %s", m)
	if given {
		if err := checkStore(ctx, c, logs.log); err != nil {
			return err
		}
	}
	err = d.playWith(ctx, c, logs)
	if given {
		cleanCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, removeDocuments(cleanCtx, c, logs.log))
	}
	return err
}

// playWith starts the processes, plays the story, ends them and counts.
func (d *demo) playWith(ctx context.Context, c config, logs *logFolder) (err error) {
	if d.fleet, err = startFleet(ctx, c, logs); err != nil {
		return err
	}
	for _, p := range d.fleet.parts {
		d.say("process: %-12s %-12s pid %-8d %s", p.name, p.roles, p.pid, p.url)
	}
	there, back, err := d.play(d.fleet.ended)
	var all Entries
	if err == nil {
		all, err = d.fleet.journal()
	}
	if err := errors.Join(d.fleet.because(err), d.fleet.close(ctx)); err != nil {
		return err
	}
	return d.verdict(all, there, back)
}

// verdict prints what MTR's and the carriers' journals say.
func (d *demo) verdict(all Entries, there, back time.Duration) error {
	c := all.Count()
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

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }
