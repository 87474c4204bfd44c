package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/child"
)

// TestProcessesDieWithTheDemo kills the demo, which leaves it no time to end anything.
func TestProcessesDieWithTheDemo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	demo, err := child.Start(child.Spec{Name: "demo", Path: os.Args[0], Args: []string{"-store", "nacos", "-log-dir", dir}, Output: dir + "/out"})
	require.NoError(t, err)
	defer demo.Kill()
	require.NoError(t, demo.Await(ctx, func(context.Context) bool { return bytes.Contains(demo.Tail(), []byte("1. each unit")) }))
	pids := processes(demo.Tail())
	require.Len(t, pids, 5)
	t.Cleanup(func() {
		for _, pid := range pids {
			if !dead(pid) {
				kill(t, pid)
			}
		}
	})
	for name, pid := range pids {
		require.True(t, exists(pid), name)
	}
	demo.Kill()
	for name, pid := range pids {
		require.Eventually(t, func() bool { return dead(pid) }, time.Minute, 20*time.Millisecond, "%s (pid %d) is left", name, pid)
	}
}

// dead also counts a process that nobody waited for yet.
func dead(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return os.IsNotExist(err)
	}
	_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')'):], []byte(" "))
	return state[0] == 'Z'
}
