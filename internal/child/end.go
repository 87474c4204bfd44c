package child

import (
	"errors"
	"fmt"
	"syscall"
)

// Terminate asks the process to end (SIGTERM) and returns at once; Exited tells when it has. One that has ended already is left alone.
func (p *Process) Terminate() error {
	if !p.Running() {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && p.Running() {
		return fmt.Errorf("terminate %s: %w", p.name, err)
	}
	return nil
}

// Err is how the process ended: "exit status 1", "signal: killed". It is nil while the process runs, and if it ended well.
func (p *Process) Err() error {
	if p.Running() || p.cmd.ProcessState.Success() {
		return nil
	}
	return errors.New(p.cmd.ProcessState.String())
}
