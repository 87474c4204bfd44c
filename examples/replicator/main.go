// Command replicator copies one unit's messages to the other units. It runs beside an application that embeds nothing; several processes
// of one unit share the work and need no configuration for that:
//
//	replicator -unit unit-1 -store etcd://10.0.0.1:2379/msha/prod -topics 'SMS,ORDER_*'
//	replicator -config replicator.yaml
//	replicator audit -unit unit-1 -store etcd://10.0.0.1:2379/msha/prod -resume audit.json
//	replicator sync -unit unit-1 -store etcd://10.0.0.1:2379/msha/prod -topic SMS
//
// See docs/replicator.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit statuses. An audit that finds differences ends with exitDifferent, which is not used for anything else there.
const (
	exitOK        = 0
	exitDifferent = 1
	exitError     = 2
)

var errDifferent = errors.New("the copies differ from the origin")

func main() {
	ctx, stop := stopOnSignal(context.Background())
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		os.Exit(exitOK)
	case errors.Is(err, errDifferent):
		fmt.Fprintln(os.Stderr, "replicator:", err)
		os.Exit(exitDifferent)
	}
	fmt.Fprintln(os.Stderr, "replicator:", err)
	os.Exit(exitError)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	command := ""
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	switch command {
	case "", "run":
		return runService(ctx, args, getenv, stderr)
	case "audit":
		return runAudit(ctx, args, getenv, stdout, stderr)
	case "sync":
		return runSync(ctx, args, getenv, stdout, stderr)
	}
	return fmt.Errorf("unknown command %q: use run (or none), audit or sync, each with -h for its flags", command)
}

// stopOnSignal ends the context at the first SIGINT or SIGTERM; at the second the process exits at once.
func stopOnSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
			return
		}
		<-signals
		fmt.Fprintln(os.Stderr, "replicator: second signal, not waiting for what is in flight")
		os.Exit(exitError)
	}()
	return ctx, cancel
}
