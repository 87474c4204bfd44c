//go:build real

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/child"
	"github.com/go-msha/msha/internal/realmq"
)

// nameServer is the name server of a cluster, as a process that can be killed and started again.
type nameServer struct {
	cluster *realmq.Cluster
	command []string // of the process that the cluster has started
	first   *os.Process
	proc    *child.Process // the one started here; nil: the first one runs
	starts  int
}

// findNameServer looks for the cluster's process: by its folder, which no other has.
func findNameServer(c *realmq.Cluster) (*nameServer, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	home := "-Drocketmq.home.dir=" + filepath.Join(c.Dir(), "namesrv")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(text, []byte(home+"\x00")) {
			continue // it has ended meanwhile, or is another one
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return nil, err
		}
		p, err := os.FindProcess(pid)
		return &nameServer{cluster: c, command: strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), first: p}, err
	}
	return nil, fmt.Errorf("no process has %s", home)
}

// kill ends it and returns once nobody answers.
func (n *nameServer) kill(ctx context.Context) error {
	if n.proc != nil {
		n.proc.Kill()
		return nil
	}
	if err := n.first.Kill(); err != nil {
		return fmt.Errorf("kill name server: %w", err)
	}
	for n.answers(ctx) {
		pause(ctx, 10*time.Millisecond)
	}
	return ctx.Err()
}

// restart starts it on its port.
func (n *nameServer) restart(ctx context.Context) (err error) {
	n.starts++
	dir := filepath.Join(n.cluster.Dir(), "namesrv")
	n.proc, err = child.Start(child.Spec{
		Name: "name server", Path: n.command[0], Args: n.command[1:], Dir: dir, Output: filepath.Join(dir, fmt.Sprintf("namesrv-%d.out", n.starts)),
	})
	if err != nil {
		return err
	}
	return n.proc.Await(ctx, n.answers)
}

func (n *nameServer) answers(ctx context.Context) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", n.cluster.NameServer())
	if err != nil {
		return false
	}
	conn.Close() //nolint:errcheck // nothing was said
	return true
}

func (n *nameServer) stop() {
	if n.proc != nil {
		n.proc.Kill()
	}
}
