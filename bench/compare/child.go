package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/chaos"
	"github.com/go-msha/msha/internal/child"
)

// childEnv holds the role of a process that this program starts.
const childEnv = "MSHA_COMPARE_ROLE"

// role is what a process is told.
type role struct {
	Program      string
	Name         string // unique for each start: unit-2.channel-1.3
	Unit         string
	Servers      map[string]string // name server by unit
	Store        string
	Side         string // its namespace in the store
	Topic, Group string
	Journals     string // folder
	Slow         string // a file: while it is there, handlers take longer
	Seed         uint64
	Replay       bool // it is the one of its unit that replays after a switch
}

// programs run until ctx ends, after they have called serving.
var programs = map[string]func(ctx context.Context, p *program) error{
	"loop.channel":    loopChannel,
	"loop.copier":     loopCopier,
	"msha.channel":    mshaChannel,
	"msha.replicator": mshaReplicator,
}

// program is a running role.
type program struct {
	role
	store msha.MetaStore
	log   *slog.Logger
}

const servingLine = "msg=serving"

func (p *program) serving() { p.log.Info("serving") }

func runChild(ctx context.Context, spec string) error {
	var r role
	if err := json.Unmarshal([]byte(spec), &r); err != nil {
		return fmt.Errorf("%s: %w", childEnv, err)
	}
	store, err := openStore(ctx, r.Store, r.Side)
	if err != nil {
		return err
	}
	defer store.Close() //nolint:errcheck // the process ends
	return programs[r.Program](ctx, &program{role: r, store: store, log: slog.New(slog.NewTextHandler(os.Stdout, nil))})
}

// worker creates the journal of this process.
func (p *program) worker() (*worker, error) {
	journal, err := chaos.Create(p.Journals, p.Name)
	return &worker{journal: journal, slow: p.Slow, seed: p.Seed}, err
}

// process is a part of a side that may be killed and started again.
type process struct {
	name   string // a role's, without the number of the start
	role   role
	dir    string // for outputs
	starts int
	proc   *child.Process // nil while it is not meant to run
}

func (p *process) current() string { return fmt.Sprintf("%s.%d", p.name, p.starts) }

// start returns once the process serves.
func (p *process) start(ctx context.Context) error {
	p.starts++
	r := p.role
	r.Name = p.current()
	proc, err := child.StartSelf(childEnv, r, child.Spec{Name: r.Name, Dir: p.dir, Output: filepath.Join(p.dir, r.Name+".out")})
	if err != nil {
		return err
	}
	p.proc = proc
	return p.proc.Await(ctx, func(context.Context) bool { return bytes.Contains(p.proc.Tail(), []byte(servingLine)) })
}

// terminate waits until the process has ended in its own way.
func (p *process) terminate(ctx context.Context) error {
	proc := p.proc
	if proc == nil {
		return nil
	}
	p.proc = nil
	if err := proc.Terminate(); err != nil {
		return err
	}
	select {
	case <-proc.Exited():
		if err := proc.Err(); err != nil {
			return fmt.Errorf("%s: %w\n%s", p.current(), err, child.LastLines(proc.Tail(), 10))
		}
		return nil
	case <-ctx.Done():
		proc.Kill()
		return fmt.Errorf("%s does not end: %w", p.current(), ctx.Err())
	}
}

func (p *process) kill() {
	if p.proc != nil {
		p.proc.Kill()
		p.proc = nil
	}
}

// failed is not nil if the process ended by itself.
func (p *process) failed() error {
	if p.proc == nil || p.proc.Running() {
		return nil
	}
	return fmt.Errorf("%s ended by itself: %v\n%s", p.current(), p.proc.Err(), child.LastLines(p.proc.Tail(), 20))
}
