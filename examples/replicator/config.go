package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha/replicate"
)

// parseConfig reads the file that -config names, then the environment, then the flags: the later one wins.
func parseConfig(name string, args []string, settings []setting, own func(*flag.FlagSet), getenv func(string) string, stderr io.Writer) (config, error) {
	c := config{listen: "127.0.0.1:8090", logLevel: "info", logFormat: "text", progress: 30 * time.Second}
	given := map[string]string{}
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	file := fs.String("config", getenv("MSHA_CONFIG"), "YAML file whose keys are the names of these flags (environment: MSHA_CONFIG)")
	for _, s := range settings {
		usage := s.usage
		if len(s.env) > 0 {
			usage += " (environment: " + s.env[0] + ")"
		}
		fs.Func(s.name, usage, func(v string) error {
			given[s.name] = v
			return s.set(&config{}, v) // only to refuse it where the flag is
		})
	}
	own(fs)
	if err := fs.Parse(args); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			err = fmt.Errorf("%w (%s -h lists the flags)", err, name)
		}
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q: lists are separated by commas, patterns with * quoted", fs.Arg(0))
	}
	if *file != "" {
		text, err := os.ReadFile(*file)
		if err != nil {
			return c, fmt.Errorf("configuration: %w", err)
		}
		if err := c.decode(text); err != nil {
			return c, fmt.Errorf("configuration %s: %w", *file, err)
		}
	}
	for _, s := range settings {
		if err := c.override(s, given, getenv); err != nil {
			return c, err
		}
	}
	return c, c.validate()
}

// override applies a setting's environment variable and flag.
func (c *config) override(s setting, given map[string]string, getenv func(string) string) error {
	if v, ok := given[s.name]; ok {
		return s.set(c, v)
	}
	for _, name := range s.env {
		if v := getenv(name); v != "" {
			if err := s.set(c, v); err != nil {
				return fmt.Errorf("environment variable %s: %w", name, err)
			}
			return nil
		}
	}
	return nil
}

// validate reports every problem.
func (c *config) validate() error {
	var problems []string
	if c.unit == "" {
		problems = append(problems, "the unit is missing: set -unit, MSHA_UNIT or unit: in the file to the unit whose messages are copied")
	}
	switch {
	case c.store == "":
		problems = append(problems, "the metastore is missing: set -store, MSHA_STORE or store: in the file, as etcd://host:port/prefix")
	case c.store == "memory" || strings.HasPrefix(c.store, "memory:"):
		problems = append(problems, "the metastore memory is inside one process and knows no units: name the one that the application uses")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.logLevel) {
		problems = append(problems, fmt.Sprintf("log-level %q: use debug, info, warn or error", c.logLevel))
	}
	if !slices.Contains([]string{"text", "json"}, c.logFormat) {
		problems = append(problems, fmt.Sprintf("log-format %q: use text or json", c.logFormat))
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

func (c *config) logger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	level.UnmarshalText([]byte(c.logLevel)) //nolint:errcheck // it was validated
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// options are those of the replicator.
func (c *config) options(log *slog.Logger) (*replicate.Options, error) {
	access, err := openCredentials(c.credentials, log)
	if err != nil {
		return nil, err
	}
	return &replicate.Options{
		Targets: c.targets, Topics: c.topics, Deny: c.deny, OnGap: c.onGap, Lease: c.lease, Discover: c.discover,
		BatchMessages: c.batchMessages, BatchBytes: c.batchBytes, Memory: c.memory, MessagesPerSecond: c.limitMessages, BytesPerSecond: c.limitBytes,
		Access: access, Logger: log,
	}, nil
}
