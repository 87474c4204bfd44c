package child

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// dieWithParent makes the system kill the server when this process dies, however it dies.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

func (p *Process) freeze() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freeze %s: %w", p.name, err)
	}
	for !p.stopped() { // the signal is on its way to each thread
		select {
		case <-p.exited:
			return fmt.Errorf("freeze %s: it has ended", p.name)
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (p *Process) thaw() error {
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("thaw %s: %w", p.name, err)
	}
	return nil
}

// stopped reads the state of every thread: the letter after the name in parentheses.
func (p *Process) stopped() bool {
	tasks := fmt.Sprintf("/proc/%d/task", p.PID())
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return false
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(tasks + "/" + thread.Name() + "/stat")
		if err != nil {
			return false
		}
		_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')'):], []byte(" "))
		if state[0] != 'T' {
			return false
		}
	}
	return true
}
