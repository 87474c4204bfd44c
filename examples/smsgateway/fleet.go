package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/child"
)

// fleet is the processes of the gateway in the demo: this one with all roles, or one child for each part.
type fleet struct {
	parts []*part
	http  *http.Client
	// ended is the context of everything asked of the fleet. Its cause tells which process ended unexpectedly.
	ended  context.Context
	cancel context.CancelCauseFunc
}

// part is one process and what runs in it.
type part struct {
	client
	name    string // also of its log
	pid     int
	roles   string
	unit    string         // "": all of them
	process *child.Process // nil: this one
	close   func(context.Context) error
}

// startFleet starts what the metastore allows: one that is inside this process cannot be shared with another.
func startFleet(ctx context.Context, c config, logs *logFolder) (*fleet, error) {
	f := &fleet{http: &http.Client{Timeout: stepTimeout}}
	f.ended, f.cancel = context.WithCancelCause(ctx)
	start := f.startChildren
	if storeKind(c.commander) == "memory" {
		start = f.startHere
	}
	if err := start(c, logs); err != nil {
		return nil, errors.Join(f.because(err), f.close(ctx))
	}
	return f, nil
}

// startHere runs everything in this process.
func (f *fleet) startHere(c config, logs *logFolder) error {
	g, err := startGateway(f.ended, c, logs.log)
	if err != nil {
		return err
	}
	f.parts = append(f.parts, &part{client: client{g.url, f.http}, name: "smsgateway", pid: os.Getpid(), roles: strings.Join(allRoles, ","), close: g.close})
	go func() {
		select {
		case err := <-g.failed:
			f.cancel(err)
		case <-f.ended.Done():
		}
	}()
	return nil
}

// because returns the end of a process, if there was one, instead of the error it led to.
func (f *fleet) because(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-f.ended.Done():
	case <-time.After(5 * time.Second): // a connection breaks a moment before the end of its process is known
	}
	if cause := context.Cause(f.ended); cause != f.ended.Err() {
		return cause
	}
	return err
}

// find returns the process that has a role of a unit; every fleet has one.
func (f *fleet) find(role, unit string) *part {
	for _, p := range f.parts {
		if rolesOf(p.roles)[role] && (p.unit == "" || unit == "" || p.unit == unit) {
			return p
		}
	}
	panic(fmt.Sprintf("no process is %s of %q", role, unit))
}

// journal joins what all processes recorded.
func (f *fleet) journal() (Entries, error) {
	all := newEntries()
	for _, p := range f.parts {
		e, err := p.journal(f.ended)
		if err != nil {
			return all, fmt.Errorf("journal of %s: %w", p.name, err)
		}
		all.Add(e)
	}
	return all, nil
}

// close ends all processes and waits for them: first it asks, and those that do not keep their closeTimeout are killed.
func (f *fleet) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout+5*time.Second)
	defer cancel()
	errs := make(chan error, len(f.parts))
	for _, p := range f.parts {
		go func() { errs <- p.close(ctx) }()
	}
	var all error
	for range f.parts {
		all = errors.Join(all, <-errs)
	}
	f.cancel(nil)
	f.http.CloseIdleConnections()
	return all
}
