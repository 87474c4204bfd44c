package replicate

import (
	"errors"
	"os"
	"strings"
	"syscall"
)

// place says where a process runs.
type place struct {
	Machine string `json:"machine,omitempty"` // this boot of it, and the space of process ids; empty: not known
	PID     int    `json:"pid,omitempty"`
}

// here is this process's place. Only Linux tells enough to recognize the same machine.
func here() place {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return place{}
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return place{}
	}
	return place{strings.TrimSpace(string(boot)) + " " + space, os.Getpid()}
}

// ended reports whether the process at p is known to have ended: it ran on this machine and is no more. This lets a replicator that was
// killed and started again go on at once, without waiting for its own old lease. A process id in use again only hides it.
func (p place) ended(from place) bool {
	if p.Machine == "" || p.Machine != from.Machine || p.PID == from.PID {
		return false
	}
	process, err := os.FindProcess(p.PID)
	if err != nil {
		return false
	}
	defer process.Release() //nolint:errcheck // nothing was waited for
	return errors.Is(process.Signal(syscall.Signal(0)), os.ErrProcessDone)
}
