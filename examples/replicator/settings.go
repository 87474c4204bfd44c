package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha/replicate"
)

// config is what flags, environment and configuration file say.
type config struct {
	unit, store, namespace string
	targets, topics, deny  []string
	onGap                  replicate.GapPolicy
	lease, discover        time.Duration
	batchMessages          int
	batchBytes             int
	memory                 int
	limitMessages          int
	limitBytes             int
	listen                 string
	credentials            string
	logLevel, logFormat    string
	progress               time.Duration
}

// setting is one thing to configure: a flag, the key of the same name in the file, and perhaps environment variables.
type setting struct {
	name  string
	env   []string // the first that is set counts
	usage string
	list  bool
	set   func(c *config, s string) error
}

func text(p func(*config) *string) func(*config, string) error {
	return func(c *config, s string) error { *p(c) = s; return nil }
}

func list(p func(*config) *[]string) func(*config, string) error {
	return func(c *config, s string) error {
		*p(c) = nil
		for _, item := range strings.Split(s, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*p(c) = append(*p(c), item)
			}
		}
		return nil
	}
}

func number(p func(*config) *int) func(*config, string) error {
	return func(c *config, s string) (err error) { *p(c), err = parseCount(s); return err }
}

func size(p func(*config) *int) func(*config, string) error {
	return func(c *config, s string) (err error) { *p(c), err = parseBytes(s); return err }
}

func duration(p func(*config) *time.Duration) func(*config, string) error {
	return func(c *config, s string) (err error) {
		*p(c), err = time.ParseDuration(s)
		if err == nil && *p(c) <= 0 {
			err = fmt.Errorf("%s is not above 0", s)
		}
		return err
	}
}

// place says where the work is: every command has these.
var place = []setting{
	{name: "unit", env: []string{"MSHA_UNIT", "MSHA_UNIT_NAME", "msha.unit.name"}, usage: "the origin: this unit's messages are copied", set: text(func(c *config) *string { return &c.unit })},
	{name: "store", env: []string{"MSHA_STORE", "MSHA_COMMANDER_ADDR", "msha.commander.addr"},
		usage: "metastore: etcd://host:port/prefix, redis://host:port/prefix, nacos://host:port/namespace; it may hold a password, which other users do not see in the environment",
		set:   text(func(c *config) *string { return &c.store })},
	{name: "namespace", env: []string{"MSHA_NAMESPACE", "MSHA_COMMANDER_NAMESPACE", "msha.commander.namespace"}, usage: "namespace of the documents; empty: the path of the store's URL", set: text(func(c *config) *string { return &c.namespace })},
	{name: "targets", list: true, usage: "units with the copies; empty: every other unit", set: list(func(c *config) *[]string { return &c.targets })},
	{name: "topics", list: true, usage: "patterns of topics, such as SMS,ORDER_*; empty: all", set: list(func(c *config) *[]string { return &c.topics })},
	{name: "credentials", usage: "file with account and TLS of each unit's cluster; empty: none", set: text(func(c *config) *string { return &c.credentials })},
	{name: "log-level", usage: "debug, info, warn or error; empty: info", set: text(func(c *config) *string { return &c.logLevel })},
	{name: "log-format", usage: "text or json; empty: text", set: text(func(c *config) *string { return &c.logFormat })},
}

// copying says how to copy.
var copying = []setting{
	{name: "deny", list: true, usage: "patterns of topics that are not copied", set: list(func(c *config) *[]string { return &c.deny })},
	{name: "on-gap", usage: "what happens to a queue whose messages expired before they were copied: stop, or skip them and report it; empty: stop", set: setGap},
	{name: "lease", usage: "how long the other processes wait for one that falls silent; empty: 15s", set: duration(func(c *config) *time.Duration { return &c.lease })},
	{name: "discover", usage: "how often topics, queues and units are looked up; empty: 2s", set: duration(func(c *config) *time.Duration { return &c.discover })},
	{name: "batch-messages", usage: "most messages in one send; empty: 2048", set: number(func(c *config) *int { return &c.batchMessages })},
	{name: "batch-bytes", usage: "most bytes in one send, such as 512KiB; empty: 1MiB", set: size(func(c *config) *int { return &c.batchBytes })},
	{name: "memory", usage: "about how much all queues hold of messages in flight, such as 64MiB; the process takes about twice as much; empty: 128MiB", set: size(func(c *config) *int { return &c.memory })},
	{name: "limit-messages", usage: "messages per second that this process copies; 0 or empty: no limit", set: number(func(c *config) *int { return &c.limitMessages })},
	{name: "limit-bytes", usage: "bytes per second that this process copies, such as 10MB; 0 or empty: no limit", set: size(func(c *config) *int { return &c.limitBytes })},
}

// serving is for the service alone.
var serving = []setting{
	{name: "listen", usage: "HTTP address; whoever reaches it can pause topics; empty: 127.0.0.1:8090; none: no HTTP", set: text(func(c *config) *string { return &c.listen })},
	{name: "progress", usage: "how often the log says how far copying is, where standard error is no terminal; empty: 30s", set: duration(func(c *config) *time.Duration { return &c.progress })},
}

func setGap(c *config, s string) error {
	switch s {
	case "stop":
		c.onGap = replicate.Stop
	case "skip":
		c.onGap = replicate.Skip
	default:
		return fmt.Errorf("%q is neither stop nor skip", s)
	}
	return nil
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number from 0", s)
	}
	return n, nil
}

// parseBytes reads 1048576, 1MiB, 10MB or 512KiB.
func parseBytes(s string) (int, error) {
	digits := strings.TrimRight(s, "BKMGi")
	unit, ok := map[string]int{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[s[len(digits):]]
	n, err := parseCount(strings.TrimSpace(digits))
	if !ok || err != nil || n > 1<<50/unit {
		return 0, fmt.Errorf("%q is no size: write a number of bytes, or one with KB, MB, GB, KiB, MiB or GiB", s)
	}
	return n * unit, nil
}
