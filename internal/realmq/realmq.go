package realmq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-msha/msha/internal/child"
)

const (
	loopback     = "127.0.0.1"
	startTimeout = 90 * time.Second // of one process, on a busy machine
)

var errStopped = errors.New("realmq: the cluster is stopped")

// Cluster is a running name server with its brokers. Its methods are safe for concurrent use.
type Cluster struct {
	opts       Options
	dir, lib   string
	nameServer string

	mu      sync.Mutex
	names   *child.Process
	brokers map[string]*broker
	stopped bool
}

type broker struct {
	mu    sync.Mutex // held while it starts or is killed
	name  string
	slave bool
	home  string
	port  int
	proc  *child.Process
}

// Start fetches the server if needed, starts a name server, then all brokers at once, and returns when every broker is registered.
// It blocks for the download (the first time) and for about the time a JVM needs; an error carries the end of the server's output.
func Start(ctx context.Context, o *Options) (*Cluster, error) {
	opts := o.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if _, err := tool("java"); err != nil {
		return nil, err
	}
	lib, err := Fetch(ctx, opts.Version)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "msha-rocketmq-")
	if err != nil {
		return nil, fmt.Errorf("realmq: %w", err)
	}
	c := &Cluster{opts: opts, dir: dir, lib: lib, brokers: map[string]*broker{}}
	for _, name := range opts.Brokers {
		c.brokers[name] = &broker{name: name, home: filepath.Join(dir, name)}
	}
	for _, name := range opts.Slaves {
		c.brokers[Slave(name)] = &broker{name: name, slave: true, home: filepath.Join(dir, Slave(name))}
	}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	if err := c.startNameServer(ctx); err != nil {
		return err
	}
	errs := make(chan error, len(c.brokers))
	for name := range c.brokers {
		go func() { errs <- c.Restart(ctx, name) }()
	}
	var all error
	for range c.brokers {
		all = errors.Join(all, <-errs)
	}
	if all != nil {
		return all
	}
	return c.createAccounts(ctx)
}

func (c *Cluster) startNameServer(ctx context.Context) error {
	home := filepath.Join(c.dir, "namesrv")
	if err := makeHome(home); err != nil {
		return err
	}
	return child.RetryPorts(func() error {
		port, err := child.FreePort(0)
		if err != nil {
			return fmt.Errorf("realmq: %w", err)
		}
		config := filepath.Join(home, "server.properties")
		if err := os.WriteFile(config, []byte(nameServerConfig(port, home)), 0o644); err != nil {
			return fmt.Errorf("realmq: %w", err)
		}
		p, err := spawn("namesrv", c.lib, home, append([]string{"-Xms32m", "-Xmx128m"}, c.opts.tlsFlags()...), "org.apache.rocketmq.namesrv.NamesrvStartup", config)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.names, c.nameServer = p, loopback+":"+strconv.Itoa(port)
		c.mu.Unlock()
		return await(ctx, p, func(ctx context.Context) bool {
			_, err := clusterInfo(ctx, c.nameServer)
			return err == nil
		})
	})
}

// NameServer is the address clients use.
func (c *Cluster) NameServer() string { return c.nameServer }

// Dir is the cluster's folder; Stop removes it.
func (c *Cluster) Dir() string { return c.dir }

// Version is the server's version.
func (c *Cluster) Version() string { return c.opts.Version }

// Addr is the address of a broker; empty if there is none of that name.
func (c *Cluster) Addr(name string) string {
	b, err := c.broker(name)
	if err != nil {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addr()
}

func (b *broker) addr() string { return loopback + ":" + strconv.Itoa(b.port) }

// Kill ends a broker the hard way (SIGKILL) and returns once it is gone. Its store stays. Killing a dead broker does nothing.
func (c *Cluster) Kill(name string) error {
	b, err := c.broker(name)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc != nil {
		b.proc.Kill()
	}
	return nil
}

// Restart starts a killed broker on its store and, if nobody took it meanwhile, its port; it returns once the broker is registered.
// Restarting a running broker does nothing.
func (c *Cluster) Restart(ctx context.Context, name string) error {
	b, err := c.broker(name)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc != nil && b.proc.Running() {
		return nil
	}
	c.mu.Lock()
	stopped := c.stopped
	c.mu.Unlock()
	if stopped { // otherwise Stop waits for this start before it removes the folder
		return errStopped
	}
	if err := makeHome(b.home); err != nil {
		return err
	}
	if len(c.opts.Accounts) > 0 && c.opts.Version == V4 {
		if err := os.WriteFile(filepath.Join(b.home, "conf", "plain_acl.yml"), []byte(c.opts.plainACL()), 0o600); err != nil {
			return fmt.Errorf("realmq: %w", err)
		}
	}
	return child.RetryPorts(func() error { return c.startBroker(ctx, b) })
}

func (c *Cluster) startBroker(ctx context.Context, b *broker) error {
	if b.port == 0 {
		port, err := child.FreePort(-2, 0, 1) // fast channel, normal, high availability
		if err != nil {
			return fmt.Errorf("realmq: %w", err)
		}
		b.port = port
	}
	config := filepath.Join(b.home, "server.properties")
	text := c.opts.brokerConfig(b, c.nameServer)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return fmt.Errorf("realmq: %w", err)
	}
	heap := strconv.Itoa(c.opts.HeapMB) + "m"
	flags := slices.Concat([]string{"-Xms" + heap, "-Xmx" + heap, "-XX:MaxDirectMemorySize=256m"}, c.opts.tlsFlags(), c.opts.JavaFlags)
	p, err := c.spawnBroker(b, flags, config)
	if err != nil {
		return err
	}
	err = await(ctx, p, func(ctx context.Context) bool {
		info, err := clusterInfo(ctx, c.nameServer)
		return err == nil && bytes.Contains(info, []byte(`"`+b.addr()+`"`))
	})
	if err != nil {
		p.Kill()
		if errors.Is(err, child.ErrPortTaken) {
			b.port = 0
		}
	}
	return err
}

// spawnBroker excludes Stop, so that no process starts after it.
func (c *Cluster) spawnBroker(b *broker, flags []string, config string) (*child.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, errStopped
	}
	p, err := spawn(b.name, c.lib, b.home, flags, "org.apache.rocketmq.broker.BrokerStartup", config)
	if err != nil {
		return nil, err
	}
	b.proc = p
	return p, nil
}

// Stop kills every process it started, waits for them and removes the cluster's folder. A second call does nothing.
func (c *Cluster) Stop() {
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		return
	}
	c.stopped = true
	names, brokers := c.names, slices.Collect(maps.Values(c.brokers))
	c.mu.Unlock()
	for _, b := range brokers {
		b.mu.Lock() // a broker being started is waited for
		if b.proc != nil {
			b.proc.Kill()
		}
		b.mu.Unlock()
	}
	if names != nil {
		names.Kill()
	}
	os.RemoveAll(c.dir) //nolint:errcheck // a temporary folder
}

// Logs returns the last lines of what every process printed and logged, for a failed test.
func (c *Cluster) Logs(lines int) string {
	var files []string
	for _, pattern := range []string{"*/*.out", "*/logs/rocketmqlogs/broker.log", "*/logs/rocketmqlogs/namesrv.log"} {
		found, _ := filepath.Glob(filepath.Join(c.dir, pattern))
		files = append(files, found...)
	}
	slices.Sort(files)
	var b strings.Builder
	for _, f := range files {
		rel, _ := filepath.Rel(c.dir, f)
		fmt.Fprintf(&b, "--- %s\n%s\n", rel, child.LastLines(withoutSetup(child.Tail(f, 256<<10)), lines))
	}
	return b.String()
}

// withoutSetup drops the hundreds of lines the logging library writes about itself.
func withoutSetup(out []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(out) {
		if !bytes.Contains(line, []byte(" |-INFO in ")) && !bytes.Contains(line, []byte("tart service thread:")) {
			kept = append(kept, line...)
		}
	}
	return kept
}

func (c *Cluster) broker(name string) (*broker, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.brokers[name]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("realmq: no broker %q; there are %s", name, strings.Join(c.opts.Brokers, ", "))
}

func makeHome(home string) error {
	conf := filepath.Join(home, "conf")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		return fmt.Errorf("realmq: %w", err)
	}
	for _, name := range []string{"logback_namesrv.xml", "logback_broker.xml"} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(logback), 0o644); err != nil {
			return fmt.Errorf("realmq: %w", err)
		}
	}
	return nil
}
