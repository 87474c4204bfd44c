package realstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-msha/msha/internal/child"
)

// RedisOptions describe one Redis server, or each of several. The zero value, and nil, are valid.
type RedisOptions struct {
	// Password of User. Default: no authentication.
	Password string
	// User is a user of the access control list, with all rights; the default user is off then. Default: the default user. It needs
	// a Password.
	User string
	// CA makes the server speak TLS only, with a certificate issued by it. Default: plain.
	CA *CA
	// ClientCerts refuses clients without a certificate of the CA. Default false.
	ClientCerts bool
	// Config sets any further directive, and overrides those set here: "appendonly": "no" makes a restart lose all data.
	Config map[string]string
}

// StartRedis starts a standalone Redis and returns once it serves. What it had acknowledged survives Kill and Restart.
func StartRedis(ctx context.Context, o *RedisOptions) (*Server, error) {
	var opts RedisOptions
	if o != nil {
		opts = *o
	}
	return launchRedis(ctx, "redis", func(s *Server, path string) error {
		port, err := child.FreePort(0)
		if err != nil {
			return err
		}
		_, err = opts.add(s, path, "redis", port, nil)
		s.entries = s.nodes
		return err
	})
}

func launchRedis(ctx context.Context, kind string, build func(s *Server, path string) error) (*Server, error) {
	path, err := child.Find("redis-server", "install the Debian package redis-server, or run 'make deps'")
	if err != nil {
		return nil, fmt.Errorf("realstore: %w", err)
	}
	return launch(ctx, kind, func(s *Server) error { return build(s, path) })
}

// add makes a node that keeps its data; more lists further directives.
func (o RedisOptions) add(s *Server, path, name string, port int, more []string) (*Node, error) {
	n, err := s.add(name, port)
	if err != nil {
		return nil, err
	}
	lines, err := o.listen(s, port)
	if err != nil {
		return nil, err
	}
	lines = append(lines,
		"dir "+n.dir,
		`save ""`,
		"appendonly yes",
		"appendfsync no", // written before it is acknowledged, so that a killed process keeps it; everysec may postpone the write
		"repl-diskless-sync-delay 0",
	)
	if o.Password != "" {
		lines = append(lines, fmt.Sprintf("masterauth %q", o.Password))
	}
	switch {
	case o.User != "":
		lines = append(lines, "user default off", fmt.Sprintf("user %s on ~* &* +@all %q", o.User, ">"+o.Password), "masteruser "+o.User)
	case o.Password != "":
		lines = append(lines, fmt.Sprintf("requirepass %q", o.Password))
	}
	lines = append(lines, more...)
	for _, k := range slices.Sorted(maps.Keys(o.Config)) {
		lines = append(lines, k+" "+o.Config[k])
	}
	return n, o.run(s, n, path, "Ready to accept connections", lines)
}

// listen lists the directives for the port; with TLS it also makes the client configuration.
func (o RedisOptions) listen(s *Server, port int) ([]string, error) {
	common := []string{"bind " + loopback, "protected-mode no", "daemonize no", `logfile ""`}
	if o.CA == nil {
		return append(common, "port "+strconv.Itoa(port)), nil
	}
	certFile, keyFile, err := o.CA.Issue("redis")
	if err != nil {
		return nil, err
	}
	if s.tls, err = o.CA.ClientConfig(); err != nil {
		return nil, err
	}
	auth := "no"
	if o.ClientCerts {
		auth = "yes"
	}
	return append(common, "port 0", "tls-port "+strconv.Itoa(port), "tls-cert-file "+certFile, "tls-key-file "+keyFile,
		"tls-ca-cert-file "+o.CA.File, "tls-auth-clients "+auth, "tls-replication yes", "tls-cluster yes"), nil
}

// run sets what a node runs; it prints up once it serves, which tells it from another process that took the port. The file is written
// once: Redis itself rewrites it after a failover.
func (o RedisOptions) run(s *Server, n *Node, path, up string, lines []string) error {
	config := filepath.Join(n.dir, "redis.conf")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	n.spec.Path, n.spec.Args = path, []string{config}
	client := o.client(s)
	n.ready = func(ctx context.Context) bool {
		if !bytes.Contains(child.Tail(n.spec.Output, 64<<10), []byte(up)) {
			return false
		}
		_, err := client.ask(ctx, n.addr, "PING")
		return err == nil
	}
	return nil
}

func (o RedisOptions) client(s *Server) redisClient {
	return redisClient{user: o.User, password: o.Password, tls: s.tls}
}
