package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// config is what flags and environment say. A flag wins over its environment variable.
type config struct {
	role      string // demo, or a comma list of mtr, channel, replicator, manager; all: the four of them
	unit      string // unit whose parts run here; "": every unit of -units
	commander string // metastore: a URL as package open takes it
	namespace string // of its documents
	units     string // unit-1=host:port;host:port,unit-2=…: creates the documents if they are missing; "": another process does
	values    string // unit-1=beijing;shanghai,unit-2=guangzhou
	listen    string // HTTP of MTR (POST /send) and manager (GET /switch)
	controls  bool   // serve what the demo plays fate with
	latency   time.Duration
	failures  float64
	store     string // demo: kind of metastore to start
	real      bool
	logDir    string
	verbose   bool
}

var allRoles = []string{"mtr", "channel", "replicator", "manager"}

func parseConfig(args []string, getenv func(string) string, stderr io.Writer) (config, error) {
	var c config
	fs := flag.NewFlagSet("smsgateway", flag.ContinueOnError)
	fs.SetOutput(stderr)
	env := func(name, fallback string) string {
		for _, key := range []string{name, strings.ToUpper(strings.ReplaceAll(name, ".", "_"))} {
			if v := getenv(key); v != "" {
				return v
			}
		}
		return fallback
	}
	str := func(p *string, name, envName, fallback, usage string) {
		fs.StringVar(p, name, env(envName, fallback), usage+" (environment: "+strings.ToUpper(strings.ReplaceAll(envName, ".", "_"))+")")
	}
	str(&c.role, "role", "msha.role", "demo", "demo, all, or a comma list of "+strings.Join(allRoles, ", "))
	str(&c.unit, "msha.unit.name", "msha.unit.name", "", "unit this process belongs to; empty: every unit of -units")
	str(&c.commander, "msha.commander.addr", "msha.commander.addr", "memory", "metastore: memory (inside this process), etcd://host:port/prefix, redis://host:port, nacos://host:port/namespace; host:port is a Nacos")
	str(&c.namespace, "msha.commander.namespace", "msha.commander.namespace", "", "namespace of the documents in the metastore")
	str(&c.units, "units", "msha.units", "", "name servers per unit, as unit-1=host:port,unit-2=host:port;host:port; empty: another process creates the documents")
	str(&c.values, "values", "msha.values", "unit-1=beijing,unit-2=guangzhou", "routing values per unit at the first start, as unit-1=a;b,unit-2=c")
	str(&c.listen, "listen", "msha.listen", "127.0.0.1:8080", "HTTP address of MTR (POST /send) and of the manager (GET /switch)")
	fs.DurationVar(&c.latency, "carrier-latency", 5*time.Millisecond, "time the carrier stub takes for each delivery")
	fs.Float64Var(&c.failures, "carrier-failures", 0, "share of deliveries the carrier stub refuses, 0 to 1")
	fs.BoolVar(&c.controls, "demo-controls", false, "let HTTP requests break and repair the carrier stub")
	fs.StringVar(&c.store, "store", "", "demo: metastore to start, one of "+strings.Join(stores, ", ")+"; empty: memory, or what msha.commander.addr names")
	fs.BoolVar(&c.real, "real", false, "demo: start two real RocketMQ clusters instead of the embedded ones")
	fs.StringVar(&c.logDir, "log-dir", "", "demo: folder for the log of each process; empty: a temporary one")
	fs.BoolVar(&c.verbose, "v", false, "demo: print the log of this process too")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q: %w", fs.Arg(0), msha.ErrInvalid)
	}
	return c, c.validate()
}

// roles is the set of parts to run.
func (c config) roles() map[string]bool { return rolesOf(c.role) }

func rolesOf(role string) map[string]bool {
	list := strings.Split(role, ",")
	if role == "all" || role == "demo" {
		list = allRoles
	}
	set := map[string]bool{}
	for _, r := range list {
		set[strings.TrimSpace(r)] = true
	}
	return set
}

func (c config) validate() error {
	for r := range c.roles() {
		if !slices.Contains(allRoles, r) {
			return fmt.Errorf("role %q: %w: use demo, all, or a comma list of %s", r, msha.ErrInvalid, strings.Join(allRoles, ", "))
		}
	}
	if c.failures < 0 || c.failures > 1 {
		return fmt.Errorf("carrier-failures %v: %w: use 0 to 1", c.failures, msha.ErrInvalid)
	}
	if c.latency < 0 {
		return fmt.Errorf("carrier-latency %v: %w: negative", c.latency, msha.ErrInvalid)
	}
	if storeKind(c.commander) == "" {
		return fmt.Errorf("msha.commander.addr %s: %w: use one of %s, as etcd://host:port", showAddr(c.commander), msha.ErrInvalid, strings.Join(stores, ", "))
	}
	if c.role == "demo" {
		return c.validateDemo()
	}
	if c.store != "" {
		return fmt.Errorf("store %s: %w: only the demo starts a metastore; name yours by -msha.commander.addr", c.store, msha.ErrInvalid)
	}
	if c.units == "" && storeKind(c.commander) == "memory" {
		return fmt.Errorf("%w: -units is missing; give each unit's name servers, as unit-1=127.0.0.1:9876,unit-2=127.0.0.1:9877", msha.ErrInvalid)
	}
	return nil
}

func (c config) validateDemo() error {
	if c.store != "" && !slices.Contains(stores, c.store) {
		return fmt.Errorf("store %q: %w: use one of %s", c.store, msha.ErrInvalid, strings.Join(stores, ", "))
	}
	if kind := storeKind(c.commander); kind != "memory" && c.store != "" && c.store != kind {
		return fmt.Errorf("store %s: %w: msha.commander.addr names another one: %s", c.store, msha.ErrInvalid, showAddr(c.commander))
	}
	return nil
}

// parseLists reads "a=x;y,b=z" into {a: [x y], b: [z]} and the names in the order given.
func parseLists(what, s string) (map[string][]string, []string, error) {
	lists, names := map[string][]string{}, []string{}
	for _, part := range strings.Split(s, ",") {
		name, list, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || name == "" || list == "" {
			return nil, nil, fmt.Errorf("%s: %q: %w: want name=item;item", what, part, msha.ErrInvalid)
		}
		if _, twice := lists[name]; twice {
			return nil, nil, fmt.Errorf("%s: %w: %s is given twice", what, msha.ErrInvalid, name)
		}
		lists[name] = strings.Split(list, ";")
		names = append(names, name)
	}
	sort.Strings(names)
	return lists, names, nil
}
