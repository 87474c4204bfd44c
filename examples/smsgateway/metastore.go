package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/go-msha/msha/internal/nacostest"
	"github.com/go-msha/msha/internal/realstore"
)

// metastore is the one of the demo: inside the process, a server started for it, or one that was there.
type metastore struct {
	commander string // its msha.commander.addr
	server    string // what serves it, for the reader
	stop      func()
}

func (m *metastore) String() string {
	if kind := storeKind(m.commander); kind != "memory" {
		return kind + " at " + showAddr(m.commander) + ", " + m.server
	}
	return "memory, " + m.server
}

// startMetastore starts the server -store names, unless msha.commander.addr names one that runs.
func startMetastore(ctx context.Context, c config) (*metastore, error) {
	if storeKind(c.commander) != "memory" {
		return &metastore{commander: c.commander, server: "given by msha.commander.addr", stop: func() {}}, nil
	}
	switch c.store {
	case "etcd":
		return started(realstore.StartEtcd(ctx, nil))
	case "redis":
		return started(realstore.StartRedis(ctx, nil))
	case "nacos":
		s, err := nacostest.Start(nil)
		if err != nil {
			return nil, err
		}
		return &metastore{commander: "nacos://" + s.Addr(), server: nacosNote, stop: s.Stop}, nil
	}
	return &metastore{commander: "memory", server: "inside the only process", stop: func() {}}, nil
}

// nacosNote says which Nacos the demo starts, and why no other.
const nacosNote = `the test server inside the demo's process
           Nacos itself is on no package registry, and r-nacos ignores compare-and-set, which a switch needs.
           On a real one: -msha.commander.addr nacos://host:8848`

// started describes a server that was started for the demo.
func started(s *realstore.Server, err error) (*metastore, error) {
	if err != nil {
		return nil, err
	}
	program := map[string]string{"etcd": "etcd", "redis": "redis-server"}[s.Kind()]
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("version of %s: %w", program, err)
	}
	version, _, _ := strings.Cut(string(out), "\n")
	return &metastore{commander: s.Kind() + "://" + s.Addr(), server: "started for the demo: " + version, stop: s.Stop}, nil
}
