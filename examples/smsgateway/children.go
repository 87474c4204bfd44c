package main

import (
	"context"
	"fmt"
	"os"
	"regexp"

	"github.com/go-msha/msha/internal/child"
)

// startChildren runs each part in a process of its own. They know the metastore and their unit; only the first is told about the
// clusters, and creates the documents for all.
func (f *fleet) startChildren(c config, logs *logFolder) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for _, p := range []*part{
		{name: "unit-1", unit: "unit-1", roles: "mtr,channel"},
		{name: "unit-2", unit: "unit-2", roles: "mtr,channel"},
		{name: "replicator-1", unit: "unit-1", roles: "replicator"},
		{name: "replicator-2", unit: "unit-2", roles: "replicator"},
		{name: "manager", roles: "manager"},
	} {
		if err := f.spawn(p, program, c, logs); err != nil {
			return err
		}
		f.parts = append(f.parts, p)
		c.units = ""
	}
	for _, p := range f.parts {
		if err := p.awaitURL(f.ended); err != nil {
			return err
		}
	}
	return nil
}

// spawn starts this program again as one part. Its end, unless it was asked for, ends everything asked of the fleet.
func (f *fleet) spawn(p *part, program string, c config, logs *logFolder) error {
	process, err := child.Start(child.Spec{
		Name: p.name, Path: program, Output: logs.path(p.name),
		Args: []string{
			"-role", p.roles, "-msha.unit.name", p.unit, "-msha.commander.namespace", c.namespace, "-units", c.units, "-values", c.values,
			"-listen", "127.0.0.1:0", "-demo-controls",
			"-carrier-latency", c.latency.String(), "-carrier-failures", fmt.Sprint(c.failures),
		},
		Env: []string{"msha.commander.addr=" + c.commander}, // other users see arguments, and it may hold a password
	})
	if err != nil {
		return err
	}
	p.http, p.process, p.pid, p.close = f.http, process, process.PID(), p.terminate
	go func() {
		<-process.Exited()
		f.cancel(p.ended("ended unexpectedly"))
	}()
	return nil
}

var listeningAt = regexp.MustCompile(`msg=` + listening + ` url=(\S+)\n`)

// awaitURL waits until the process says that it runs, and where.
func (p *part) awaitURL(ctx context.Context) error {
	return p.process.Await(ctx, func(context.Context) bool {
		m := listeningAt.FindSubmatch(p.process.Tail())
		if m != nil {
			p.url = string(m[1])
		}
		return m != nil
	})
}

// terminate lets the process end in its own way, and kills it if that takes until ctx ends.
func (p *part) terminate(ctx context.Context) error {
	if !p.process.Running() {
		return nil // its end was noticed
	}
	if err := p.process.Terminate(); err != nil {
		p.process.Kill()
		return err
	}
	select {
	case <-p.process.Exited():
		if p.process.Err() != nil {
			return p.ended("did not end well")
		}
		return nil
	case <-ctx.Done():
		p.process.Kill()
		return p.ended("had to be killed")
	}
}

func (p *part) ended(how string) error {
	if err := p.process.Err(); err != nil {
		how += ": " + err.Error()
	}
	return fmt.Errorf("process %s (pid %d) %s; the end of its log:\n%s", p.name, p.pid, how, child.LastLines(p.process.Tail(), 5))
}
