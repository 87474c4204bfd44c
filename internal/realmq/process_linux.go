package realmq

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the system kill the server when this process dies, however it dies.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
