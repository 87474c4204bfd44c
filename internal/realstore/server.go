package realstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/go-msha/msha/internal/child"
)

// Server is a running store, of one node or several. Its methods are safe for concurrent use.
type Server struct {
	kind    string
	dir     string
	nodes   []*Node
	entries []*Node // those a client is configured with
	tls     *tls.Config
	settled func(context.Context) error                   // waits until the nodes work together; nil for a single node
	primary func(context.Context, string) (string, error) // address of the node that accepts writes of a key; nil for a single node
}

// launch builds a server in a new folder and starts it; it begins anew if another process took one of the ports first.
func launch(ctx context.Context, kind string, build func(*Server) error) (s *Server, err error) {
	err = child.RetryPorts(func() error {
		dir, err := os.MkdirTemp("", "msha-"+kind+"-")
		if err != nil {
			return err
		}
		s = &Server{kind: kind, dir: dir}
		if err = build(s); err == nil {
			err = s.Restart(ctx)
		}
		if err != nil {
			s.Stop()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("realstore: %s: %w", kind, err)
	}
	return s, nil
}

// Kind is "etcd", "redis", "sentinel", "cluster" or "rnacos".
func (s *Server) Kind() string { return s.kind }

// Addr is the first of Addrs.
func (s *Server) Addr() string { return s.entries[0].addr }

// Addrs are the addresses (host:port) a client is configured with: of the server, of the sentinels, or of all nodes of a cluster.
// They stay the same over restarts.
func (s *Server) Addrs() []string { return addrs(s.entries) }

// Nodes are all processes of the server.
func (s *Server) Nodes() []*Node { return slices.Clone(s.nodes) }

// Dir is the server's folder; Stop removes it.
func (s *Server) Dir() string { return s.dir }

// TLS is the configuration a client needs; nil if the server does not speak TLS.
func (s *Server) TLS() *tls.Config { return s.tls.Clone() }

// Primary is the node that accepts writes of a key now, as the sentinels or the nodes of the cluster say; of a single server it is
// the only one.
func (s *Server) Primary(ctx context.Context, key string) (*Node, error) {
	if s.primary == nil {
		return s.nodes[0], nil
	}
	addr, err := s.primary(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("realstore: %s: primary of %q: %w", s.kind, key, err)
	}
	for _, n := range s.nodes {
		if n.addr == addr {
			return n, nil
		}
	}
	return nil, fmt.Errorf("realstore: %s: primary of %q is at %s, which is none of %s", s.kind, key, addr, strings.Join(addrs(s.nodes), ", "))
}

// Kill ends all nodes the hard way (SIGKILL) and returns once they are gone. Their data stays.
func (s *Server) Kill() {
	for _, n := range s.nodes {
		n.Kill()
	}
}

// Restart kills the nodes that run, starts all on their ports and data, and returns once they serve.
func (s *Server) Restart(ctx context.Context) error {
	s.Kill()
	var behind []*Node // what sentinels watch is there before them: they must not find it dead
	for _, n := range s.nodes {
		if !slices.Contains(s.entries, n) {
			behind = append(behind, n)
		}
	}
	if err := restart(ctx, behind); err != nil {
		return err
	}
	if err := restart(ctx, s.entries); err != nil || s.settled == nil {
		return err
	}
	return s.settled(ctx)
}

func restart(ctx context.Context, nodes []*Node) (all error) {
	errs := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { errs <- n.Restart(ctx) }()
	}
	for range nodes {
		all = errors.Join(all, <-errs)
	}
	return all
}

// Freeze stops all nodes where they are (SIGSTOP); connections stay open and nothing answers.
func (s *Server) Freeze() error { return s.each((*Node).Freeze) }

// Thaw lets frozen nodes go on.
func (s *Server) Thaw() error { return s.each((*Node).Thaw) }

func (s *Server) each(do func(*Node) error) (all error) {
	for _, n := range s.nodes {
		all = errors.Join(all, do(n))
	}
	return all
}

// Stop kills all nodes, waits for them and removes the server's folder. A second call does nothing.
func (s *Server) Stop() {
	for _, n := range s.nodes {
		n.stop()
	}
	os.RemoveAll(s.dir) //nolint:errcheck // a temporary folder
}

// Logs returns the last lines of what each node printed since it was last started.
func (s *Server) Logs(lines int) string {
	var b strings.Builder
	for _, n := range s.nodes {
		fmt.Fprintf(&b, "--- %s at %s\n%s\n", n.name, n.addr, child.LastLines(child.Tail(n.spec.Output, 64<<10), lines))
	}
	return b.String()
}

func addrs(nodes []*Node) (all []string) {
	for _, n := range nodes {
		all = append(all, n.addr)
	}
	return all
}
