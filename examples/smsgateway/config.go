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
	commander string // address of the metastore
	namespace string // prefix of its documents
	units     string // unit-1=host:port;host:port,unit-2=…: creates the documents if they are missing
	values    string // unit-1=beijing;shanghai,unit-2=guangzhou
	listen    string // HTTP of MTR (POST /send) and manager (GET /switch)
	latency   time.Duration
	failures  float64
	real      bool
	logFile   string
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
	str(&c.commander, "msha.commander.addr", "msha.commander.addr", "memory", "metastore; memory: inside this process")
	str(&c.namespace, "msha.commander.namespace", "msha.commander.namespace", "", "namespace of the documents in the metastore")
	str(&c.units, "units", "msha.units", "", "name servers per unit, as unit-1=host:port,unit-2=host:port;host:port")
	str(&c.values, "values", "msha.values", "unit-1=beijing,unit-2=guangzhou", "routing values per unit at the first start, as unit-1=a;b,unit-2=c")
	str(&c.listen, "listen", "msha.listen", "127.0.0.1:8080", "HTTP address of MTR (POST /send) and of the manager (GET /switch)")
	fs.DurationVar(&c.latency, "carrier-latency", 5*time.Millisecond, "time the carrier stub takes for each delivery")
	fs.Float64Var(&c.failures, "carrier-failures", 0, "share of deliveries the carrier stub refuses, 0 to 1")
	fs.BoolVar(&c.real, "real", false, "demo: start two real RocketMQ clusters instead of the embedded ones")
	fs.StringVar(&c.logFile, "log-file", "", "demo: where the full log goes; empty: a temporary file")
	fs.BoolVar(&c.verbose, "v", false, "demo: print the full log")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q: %w", fs.Arg(0), msha.ErrInvalid)
	}
	return c, c.validate()
}

// roles is the set of parts to run.
func (c config) roles() map[string]bool {
	list := strings.Split(c.role, ",")
	if c.role == "all" || c.role == "demo" {
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
	if c.commander != "memory" && !strings.HasPrefix(c.commander, "memory:") {
		return fmt.Errorf("msha.commander.addr %q: %w: only memory is there yet", c.commander, msha.ErrUnsupported)
	}
	if c.role != "demo" && c.units == "" {
		return fmt.Errorf("%w: -units is missing; give each unit's name servers, as unit-1=127.0.0.1:9876,unit-2=127.0.0.1:9877", msha.ErrInvalid)
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
