package realstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/go-msha/msha/internal/child"
)

const (
	loopback     = "127.0.0.1"
	startTimeout = 90 * time.Second // of one process, on a busy machine
)

var errStopped = errors.New("the server is stopped")

// Node is one process of a server. Its methods are safe for concurrent use.
type Node struct {
	name  string
	addr  string
	dir   string
	spec  child.Spec
	ready func(context.Context) bool
	// starts is how often the process is started, each time on the data it has, until it is ready within patience; 0: once.
	starts   int
	patience time.Duration

	mu      sync.Mutex // held while it starts or is killed
	proc    *child.Process
	stopped bool
}

// add makes a node with a folder of its own; the caller fills in what to run and when it is ready.
func (s *Server) add(name string, port int) (*Node, error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	n := &Node{name: name, addr: loopback + ":" + strconv.Itoa(port), dir: dir}
	n.spec = child.Spec{Name: name, Dir: dir, Output: filepath.Join(dir, "out")}
	s.nodes = append(s.nodes, n)
	return n, nil
}

// Name tells the nodes of a server apart.
func (n *Node) Name() string { return n.name }

// Addr is the node's address, host:port.
func (n *Node) Addr() string { return n.addr }

// Running reports whether the node's process is there; it may be frozen.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc != nil && n.proc.Running()
}

// Kill ends the node the hard way (SIGKILL) and returns once it is gone. Its data stays.
func (n *Node) Kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil {
		n.proc.Kill()
	}
}

// Restart kills the node if it runs, starts it on its port and data, and returns once it answers.
func (n *Node) Restart(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return errStopped
	}
	for attempt := 1; ; attempt++ {
		err := n.start(ctx)
		if err == nil || attempt >= n.starts || ctx.Err() != nil {
			return err
		}
	}
}

// start kills the process if there is one and starts another; the lock is held.
func (n *Node) start(ctx context.Context) error {
	if n.proc != nil {
		n.proc.Kill()
	}
	p, err := child.Start(n.spec)
	if err != nil {
		return err
	}
	n.proc = p
	patience := startTimeout
	if n.patience > 0 {
		patience = n.patience
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.Await(waiting, n.ready); err != nil {
		p.Kill()
		return err
	}
	return nil
}

// Freeze stops the node where it is (SIGSTOP) and returns once it stands still.
func (n *Node) Freeze() error { return n.signal((*child.Process).Freeze) }

// Thaw lets a frozen node go on.
func (n *Node) Thaw() error { return n.signal((*child.Process).Thaw) }

func (n *Node) signal(send func(*child.Process) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return fmt.Errorf("%s was not started", n.name)
	}
	return send(n.proc)
}

func (n *Node) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopped = true
	if n.proc != nil {
		n.proc.Kill()
	}
}

func freePorts(n int) (ports []int, err error) {
	for range n {
		port, err := child.FreePort(0)
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// poll repeats check until it succeeds; the error is its last one.
func poll(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}
