//go:build !linux

package child

import (
	"errors"
	"os/exec"
)

var errNeedsLinux = errors.New("freezing a process needs Linux")

// dieWithParent needs Linux. Elsewhere a server outlives a test process that was killed.
func dieWithParent(*exec.Cmd) {}

func (p *Process) freeze() error { return errNeedsLinux }
func (p *Process) thaw() error   { return errNeedsLinux }
