//go:build !linux

package realmq

import "os/exec"

// dieWithParent needs Linux. Elsewhere a server outlives a test process that was killed.
func dieWithParent(*exec.Cmd) {}
