//go:build real

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/go-msha/msha/internal/child"
)

// process is a part of the installation that is started again after it was killed.
type process struct {
	name   string // role's without the number of the start
	role   role
	dir    string               // for outputs
	failed func(string, ...any) // told if it ends by itself
	mu     sync.Mutex           // held while it is killed or started
	proc   *child.Process       // the one that was started last
	starts int
	meant  map[*child.Process]bool // whose end is meant
	output []string
}

// start begins a new process of a new name.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starts++
	r := p.role
	r.Name = p.current()
	output := filepath.Join(p.dir, r.Name+".out")
	proc, err := child.StartSelf(childEnv, r, child.Spec{Name: r.Name, Dir: p.dir, Output: output})
	if err != nil {
		return err
	}
	p.proc, p.output = proc, append(p.output, output)
	go func() {
		<-proc.Exited()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.meant[proc] {
			p.failed("%s ended by itself: %v\n%s", r.Name, proc.Err(), child.LastLines(proc.Tail(), 30))
		}
	}()
	return nil
}

// latest is the name of the process that was started last.
func (p *process) latest() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current()
}

// current is the name of this start; the lock is held.
func (p *process) current() string { return fmt.Sprintf("%s.%d", p.name, p.starts) }

// serves waits until the process that was started last does its work.
func (p *process) serves(ctx context.Context) error {
	p.mu.Lock()
	proc, output := p.proc, p.output[len(p.output)-1]
	p.mu.Unlock()
	return proc.Await(ctx, func(context.Context) bool {
		text, err := os.ReadFile(output)
		return err == nil && bytes.Contains(text, []byte("msg="+serving))
	})
}

// kill ends it the hard way.
func (p *process) kill() (f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meant[p.proc] = true
	f.Target, f.From = p.current(), time.Now()
	p.proc.Kill()
	f.Gone = time.Now()
	return f
}

// freeze makes it stand still until thaw.
func (p *process) freeze() (f Fault, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.Target, f.From = p.current(), time.Now()
	err = p.proc.Freeze()
	f.Gone = time.Now()
	return f, err
}

func (p *process) thaw() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proc.Thaw()
}

func (p *process) stop() {
	if p.proc != nil {
		p.kill()
	}
}

var outcry = regexp.MustCompile(`(?m)^(panic:|fatal error:|WARNING: DATA RACE).*$`)

// outcries are what a process must never print.
func (p *process) outcries() (all []string) {
	for _, name := range p.output {
		text, err := os.ReadFile(name)
		if err != nil {
			all = append(all, err.Error())
		}
		if at := outcry.FindIndex(text); at != nil {
			all = append(all, fmt.Sprintf("%s: %s", name, text[at[0]:min(at[0]+4000, len(text))]))
		}
	}
	return all
}
