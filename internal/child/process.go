package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// ErrPortTaken means that a server ended while starting because another process had taken its port.
var ErrPortTaken = errors.New("port taken")

// Spec says what to run.
type Spec struct {
	Name   string // for errors
	Path   string // the program
	Args   []string
	Env    []string // added to this process's environment
	Dir    string   // working folder
	Output string   // file for what it prints; truncated
}

// Process is a running child. Its methods are safe for concurrent use.
type Process struct {
	name   string
	output string
	cmd    *exec.Cmd
	exited chan struct{} // closed once waited for
}

// Start starts a process and returns without waiting for it to serve.
func Start(s Spec) (*Process, error) {
	p := &Process{name: s.Name, output: s.Output, cmd: exec.Command(s.Path, s.Args...), exited: make(chan struct{})}
	out, err := os.OpenFile(s.Output, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = s.Dir, out, out
	p.cmd.Env = append(os.Environ(), s.Env...)
	dieWithParent(p.cmd)
	started := make(chan error, 1)
	go func() {
		// The death signal is tied to the thread that forked, so that thread has to live as long as the server.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		out.Close() //nolint:errcheck // the child has its own descriptor
		started <- err
		if err == nil {
			p.cmd.Wait() //nolint:errcheck // killed, usually
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	return p, nil
}

// Kill ends the process at once (SIGKILL, also if it is frozen) and waits for it. Killing a dead process does nothing.
func (p *Process) Kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
	<-p.exited
}

// Freeze stops the process where it is (SIGSTOP) and returns once it stands still. Its connections stay open.
func (p *Process) Freeze() error {
	if !p.Running() {
		return fmt.Errorf("freeze %s: it has ended", p.name)
	}
	return p.freeze()
}

// Thaw lets a frozen process go on (SIGCONT). It does nothing to one that runs.
func (p *Process) Thaw() error {
	if !p.Running() {
		return fmt.Errorf("thaw %s: it has ended", p.name)
	}
	return p.thaw()
}

// Running reports whether the process has not ended; a frozen one has not.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Exited is closed once the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Tail returns the last 64 KiB of what the process printed.
func (p *Process) Tail() []byte { return Tail(p.output, 64<<10) }

// Await polls ready until it is true, the process ends or ctx does. Errors carry the end of the output; ErrPortTaken is among them.
func (p *Process) Await(ctx context.Context, ready func(context.Context) bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ready(ctx) {
		select {
		case <-p.exited:
			if bytes.Contains(bytes.ToLower(p.Tail()), []byte("already in use")) {
				return fmt.Errorf("%s: %w", p.name, ErrPortTaken)
			}
			return fmt.Errorf("%s ended while starting:\n%s", p.name, LastLines(p.Tail(), 30))
		case <-ctx.Done():
			return fmt.Errorf("%s did not get ready: %w\n%s", p.name, ctx.Err(), LastLines(p.Tail(), 30))
		case <-tick.C:
		}
	}
	return nil
}
